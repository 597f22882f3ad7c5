"""The page: Parley in a browser, over the same queue as every platform."""
