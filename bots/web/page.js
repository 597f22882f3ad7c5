// What the page does in the browser beside Gradio. One function, which Gradio calls once when the page has loaded.
() => {
  const all = (selector) => document.querySelectorAll(selector);

  // Gradio measures its tabs with a copy that nobody sees and the Tab key finds; it calls a combobox and a group lists,
  // puts a button around the button of what it tells people, and labels a message with all of its HTML.
  const fixAccessibility = () => {
    all(".tab-container[aria-hidden=true]").forEach((copy) => { copy.inert = true; });
    all("input[role=listbox]").forEach((input) => { input.setAttribute("role", "combobox"); });
    all(".examples[role=list]").forEach((list) => { list.setAttribute("role", "group"); });
    all(".toast-header[role=button]").forEach((header) => {
      header.removeAttribute("role");
      header.removeAttribute("tabindex");
    });
    all("#chat [aria-label*='message: ']").forEach((said) => {
      said.setAttribute("aria-label", said.getAttribute("aria-label").split(":")[0]);
    });
  };

  // Gradio's buttons copy what was written, and not the HTML that shows it.
  const written = (text) => text.replace(/<!--said:([\w+/=]*)-->[^]*?<!--end-->/g, (_, said) =>
    new TextDecoder().decode(Uint8Array.from(atob(said), (char) => char.charCodeAt(0))));
  const write = navigator.clipboard?.writeText.bind(navigator.clipboard);
  if (write) navigator.clipboard.writeText = (text) => write(written(text));
  document.addEventListener("copy", (event) => {
    const box = event.target; // Gradio's own way where the browser has no clipboard for us
    if (box.tagName === "TEXTAREA" && box.value.includes("<!--said:")) {
      event.clipboardData.setData("text/plain", written(box.value));
      event.preventDefault();
    }
  });

  // After each change of the page, a moment later.
  const afterChanges = () => {
    fixAccessibility();
  };
  let waiting = 0;
  new MutationObserver(() => { waiting = waiting || setTimeout(() => { waiting = 0; afterChanges(); }, 100); })
    .observe(document.body, { childList: true, subtree: true });
  afterChanges();
}
