// What the page does in the browser beside Gradio. One function, which Gradio calls once when the page has loaded.
() => {
  const all = (selector) => document.querySelectorAll(selector);
  const one = (selector) => document.querySelector(selector);

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
    // What can be scrolled can be reached with the Tab key, and nothing else.
    all("#chat .md :is(pre, .table, .formula)").forEach((box) => {
      if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
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

  // What is typed is kept in this tab, through reloads: a question until the server says that it was taken.
  const isShown = (element) => Boolean(element?.getClientRects().length);
  const recall = (name, otherwise) => {
    try { return JSON.parse(sessionStorage.getItem(`parley.${name}`)) ?? otherwise; } catch { return otherwise; }
  };
  const keep = (name, value) => {
    try { sessionStorage.setItem(`parley.${name}`, JSON.stringify(value)); } catch { /* it is too long to keep */ }
  };
  const box = () => one("#box textarea");
  const fill = (element, text) => {
    element.value = text;
    element.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const drafts = { box: "#box textarea", prompt: "#prompt textarea" };
  const restored = new Set();
  const restoreDrafts = () => {
    for (const [name, selector] of Object.entries(drafts)) {
      if (restored.has(name) || !one(selector)) continue;
      restored.add(name);
      if (!one(selector).value) fill(one(selector), recall(name, ""));
    }
  };
  document.addEventListener("input", ({ target }) => {
    const name = Object.keys(drafts).find((draft) => target.matches?.(drafts[draft]));
    if (name) keep(name, target.value);
  });

  // Orders go to the server through a button that nobody sees, and `told` comes back: see bots/web/orders.py.
  const MOST_CHARACTERS = 1_100_000;
  const orders = [], heard = new Set();
  let outbox = recall("outbox", []);
  let editing = recall("editing", "");
  let isLost = false;
  const newId = () => [...crypto.getRandomValues(new Uint8Array(16))].map((one) => one.toString(16).padStart(2, "0")).join("");
  const act = (order) => {
    order.id ??= newId();
    orders.push(order);
    one("#obey").click();
  };
  window.parley = {
    order: (channel) => {
      const order = orders.shift() ?? {};
      order.channel ||= channel || "";
      keep("outbox", outbox);
      return JSON.stringify(order);
    },
    heard: (said) => {
      const told = JSON.parse(said || "{}");
      if (!told.id || heard.has(told.id)) return;
      heard.add(told.id);
      outbox = outbox.filter((order) => order.id !== told.id);
      keep("outbox", outbox);
      if (told.back) fill(box(), told.back + (box().value && `\n\n${box().value}`));
      if (told.edit) edit(told.edit, told.text);
    },
  };
  const edit = (turn, text) => {
    editing = turn;
    keep("editing", turn);
    fill(box(), text);
    showEditing();
    if (turn) box().focus();
  };
  const showEditing = () => {
    const composer = one("#composer");
    if (!composer) return;
    let notice = one("#editing");
    if (!notice) {
      notice = document.createElement("div");
      notice.id = "editing";
      notice.setAttribute("role", "status");
      composer.before(notice);
    }
    notice.textContent = editing && "Editing your question: Enter asks again from there, Escape leaves it as it was.";
    notice.hidden = !editing;
  };
  const send = () => {
    const text = box().value;
    if (!text.trim()) return;
    if (text.length > MOST_CHARACTERS) {
      act({ do: "too_long", number: text.length });
      return;
    }
    const order = { do: "send", id: newId(), text, turn: editing };
    outbox.push(order);
    edit("", "");
    if (isLost) showConnection();
    else act(order);
    keep("outbox", outbox);
  };
  const sendAll = () => outbox.forEach(act);

  // Whether anything still reaches this page: it asks the server, and the server makes a number in it grow. Where none
  // does any more, the page is loaded again as soon as there is somebody to load it from.
  const CHECK_MS = 15_000, CHECK_LOST_MS = 2_000, PATIENCE_MS = 8_000, LOAD_MS = 30_000;
  const began = Date.now();
  let run = "", isChecking = false, misses = 0, next = 0;
  const pulse = () => one("#pulse")?.dataset ?? {};
  const showConnection = () => {
    let banner = one("#connection");
    if (!banner) {
      banner = document.createElement("div");
      banner.id = "connection";
      banner.setAttribute("role", "alert");
      document.body.append(banner);
    }
    const waits = outbox.length ? " Your question will be sent then." : "";
    banner.textContent = isLost ? `Connection lost, reconnecting …${waits}` : "";
    banner.hidden = !isLost;
  };
  const setLost = (lost) => {
    if (isLost === lost) return;
    isLost = lost;
    showConnection();
    if (lost) {
      clearTimeout(next);
      next = setTimeout(check, CHECK_LOST_MS);
    } else sendAll();
  };
  const hasGrown = async (beat) => {
    for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await new Promise((done) => setTimeout(done, 50)))
      if (pulse().beat !== beat) return true;
    return false;
  };
  const check = async () => {
    if (isChecking) return;
    isChecking = true;
    clearTimeout(next);
    const { watch, beat } = pulse();
    try {
      const asked = await fetch(`./alive?watch=${watch ?? ""}`, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
      if (!asked.ok) throw new Error(asked.statusText);
      const alive = await asked.json();
      const isLoading = beat === undefined && Date.now() - began < LOAD_MS;
      const isOther = alive.run !== (run || alive.run);
      const isWell = !isOther && (isLoading || (alive.watched && (await hasGrown(beat))));
      misses = isWell ? 0 : misses + 1;
      setLost(!isWell);
      // Loading it again takes away what is open in its tabs. A busy machine, or a channel that changes, misses one check.
      if (isOther || misses > 1) location.reload();
    } catch {
      setLost(true);
    }
    isChecking = false;
    next = setTimeout(check, isLost ? CHECK_LOST_MS : CHECK_MS);
  };
  const noticeConnection = () => {
    const { watch } = pulse();
    if (!run && pulse().run) {
      run = pulse().run;
      sendAll(); // what the page before this one could not send
      const address = new URL(location.href); // a link led here; the next time, one is where one was last
      if (address.searchParams.has("c")) {
        address.searchParams.delete("c");
        history.replaceState(history.state, "", address);
      }
    }
    if (watch === "") setLost(true); // the server said that it ends
    for (const toast of all(".toast-body"))
      if (toast.textContent.includes("Connection to the server was lost") && !toast.hidden) {
        toast.hidden = true; // ours says so
        setLost(true);
      }
  };
  addEventListener("offline", () => setLost(true));
  for (const event of ["online", "focus", "pageshow"]) addEventListener(event, check);
  document.addEventListener("visibilitychange", () => document.hidden || check());
  next = setTimeout(check, CHECK_MS);

  // What can be done with a message stands under it.
  const rated = new Map();
  const rate = (turn, number) => {
    rated.set(turn, number);
    return { do: "rate", turn, number };
  };
  const tool = (name, sign, order, isPressed) => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", title: name, textContent: sign });
    button.setAttribute("aria-label", name);
    if (isPressed !== undefined) button.setAttribute("aria-pressed", isPressed);
    button.addEventListener("click", () => {
      act(order());
      showTools();
    });
    return button;
  };
  const showTools = () => {
    const rows = [...all("#chat .message-row")];
    rows.forEach((row, index) => {
      const panel = row.nextElementSibling;
      const isAnswer = row.classList.contains("bot-row");
      const who = (isAnswer ? rows[index - 1] : row)?.querySelector("p.who");
      if (!who || !panel?.classList.contains("message-buttons")) return;
      const turn = [...who.classList].find((name) => name.startsWith("t-"))?.slice(2);
      const isMine = who.classList.contains("mine"), isDone = who.classList.contains("done");
      const isLast = index === rows.length - 1;
      const state = [turn, isAnswer, who.className, isLast, rated.get(turn)].join(" ");
      let tools = panel.querySelector(".tools");
      if (tools?.dataset.state === state) return;
      tools?.remove();
      tools = document.createElement("span");
      tools.className = "tools";
      tools.dataset.state = state;
      if (!isAnswer && isMine) tools.append(tool("Edit and ask again from here", "✎", () => ({ do: "edit", turn })));
      if (isAnswer && isDone && isLast) tools.append(tool("Regenerate", "↻", () => ({ do: "again", turn })));
      if (isAnswer && isDone)
        tools.append(
          tool("Good answer", "👍", () => rate(turn, 1), rated.get(turn) === 1),
          tool("Bad answer", "👎", () => rate(turn, 0), rated.get(turn) === 0),
        );
      if (isAnswer && isMine && who.classList.contains("waiting"))
        tools.append(tool("Take back", "Take back", () => ({ do: "take_back", turn })));
      panel.append(tools);
    });
  };

  // Keys.
  const KEYS = [
    ["Enter", "send"],
    ["Shift + Enter", "a new line"],
    ["↑", "in the empty box: edit your last question"],
    ["Escape", "stop the answer that is being written, or leave an edit"],
    ["?", "show these keys"],
  ];
  const showKeys = () => {
    let dialog = one("#keys");
    if (!dialog) {
      dialog = document.createElement("dialog");
      dialog.id = "keys";
      dialog.setAttribute("aria-label", "Keys");
      const list = document.createElement("dl");
      for (const [key, meaning] of KEYS) {
        const term = document.createElement("dt"), words = document.createElement("dd");
        term.append(Object.assign(document.createElement("kbd"), { textContent: key }));
        words.textContent = meaning;
        list.append(term, words);
      }
      const close = Object.assign(document.createElement("button"), { type: "button", textContent: "Close", autofocus: true });
      close.addEventListener("click", () => dialog.close());
      dialog.append(Object.assign(document.createElement("h2"), { textContent: "Keys" }), list, close);
      document.body.append(dialog);
    }
    dialog.showModal();
  };
  const escape = (target) => {
    const stop = one("#stop"), dialog = one("#confirm");
    if (one("#keys")?.open) return false;
    if (isShown(dialog)) one("#keep").click();
    else if (editing && target === box()) edit("", "");
    else if (one("#chat")?.getClientRects().length && !stop.disabled) stop.click();
    else return false;
    return true;
  };
  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    const isWriting = target.matches?.("input, textarea, select, [contenteditable]");
    const isBox = target === box();
    const isPlain = !event.shiftKey && !event.ctrlKey && !event.altKey && !event.metaKey;
    let isOurs = false;
    if (event.isComposing) return;
    if (key === "Enter" && isBox && isPlain) {
      send();
      isOurs = true;
    } else if (key === "ArrowUp" && isBox && isPlain && !box().value) {
      act({ do: "edit" });
      isOurs = true;
    } else if (key === "Escape" && (isBox || !isWriting)) isOurs = escape(target);
    else if (key === "?" && !isWriting) {
      showKeys();
      isOurs = true;
    }
    if (isOurs) {
      event.preventDefault();
      event.stopPropagation();
    }
  }, true);
  document.addEventListener("click", ({ target }) => {
    if (target.closest?.("#send")) send();
  });

  // The demo's note can be closed, for good.
  const showHint = () => {
    const hint = one("#demo-hint");
    if (!hint || hint.querySelector(".close")) return;
    const close = Object.assign(document.createElement("button"), { type: "button", className: "close", textContent: "×" });
    close.setAttribute("aria-label", "Close this note");
    close.addEventListener("click", () => {
      localStorage.setItem("parley.hint", "closed");
      hint.hidden = true;
    });
    hint.hidden = localStorage.getItem("parley.hint") === "closed";
    hint.append(close);
  };

  // The chat window follows the newest words, until somebody scrolls up; at its end, it follows again. Gradio's own way
  // takes people back who scrolled up a moment ago.
  let log = null, held = false, channel = "";
  const atEnd = () => log.scrollTop + log.clientHeight > log.scrollHeight - 8;
  const hold = () => { held = log.scrollHeight > log.clientHeight; };
  const follow = () => {
    if (!held) log.scrollTop = log.scrollHeight;
    log.dispatchEvent(new Event("scroll")); // for Gradio's button that leads to the end
  };
  const followLog = () => {
    let top = log.scrollTop;
    log.addEventListener("wheel", (event) => { if (event.deltaY < 0) hold(); }, { passive: true });
    log.addEventListener("touchmove", hold, { passive: true });
    log.addEventListener("keydown", (event) => { if (["ArrowUp", "PageUp", "Home"].includes(event.key)) hold(); });
    log.addEventListener("scroll", () => {
      if (log.scrollTop < top) held = true;
      if (log.scrollTop !== top && atEnd()) held = false;
      top = log.scrollTop;
      const button = one("#chat .scroll-down-button-container button");
      if (button?.title) { button.removeAttribute("title"); button.setAttribute("aria-label", "Newest"); }
    });
    sizes.observe(log);
  };
  const sizes = new ResizeObserver(() => follow());
  const asks = (event) => event.target.closest?.("#box") && event.key === "Enter" && !event.shiftKey;
  document.addEventListener("keydown", (event) => { if (asks(event)) held = false; }, true);
  document.addEventListener("click", (event) => { if (event.target.closest?.("#send, .scroll-down-button-container")) held = false; }, true);

  // Gradio replaces a growing paragraph as a whole. What somebody has selected in it is selected again.
  let picked = null;
  const before = (said, node, at) => {
    const range = document.createRange();
    range.setStart(said, 0);
    range.setEnd(node, at);
    return range.toString().length;
  };
  const point = (said, at) => {
    const texts = document.createTreeWalker(said, NodeFilter.SHOW_TEXT);
    for (let node = texts.nextNode(); node; at -= node.length, node = texts.nextNode())
      if (at <= node.length) return [node, at];
    return [said, said.childNodes.length];
  };
  document.addEventListener("selectionchange", () => {
    const now = getSelection(), node = now.anchorNode;
    const said = (node?.nodeType === Node.TEXT_NODE ? node.parentElement : node)?.closest?.("#chat .md");
    picked = said && !now.isCollapsed && said.contains(now.focusNode)
      ? [said, before(said, node, now.anchorOffset), before(said, now.focusNode, now.focusOffset), `${now}`] : null;
  });
  const pickAgain = () => {
    if (!picked?.[0].isConnected || `${getSelection()}` === picked[3]) return;
    const [said, from, to] = picked;
    getSelection().setBaseAndExtent(...point(said, from), ...point(said, to));
  };

  // A screen reader hears an answer once, when it is done, and not each of its words.
  const spoken = document.createElement("div");
  spoken.id = "heard";
  spoken.setAttribute("role", "status");
  one(".gradio-container").append(spoken);
  const unfinished = /▍\s*$|^\s*(?:thinking …|Waiting, \d+ ahead)\s*$/;
  let growing = new WeakSet();
  const tell = () => {
    for (const said of all("#chat .message.bot .md")) {
      const text = said.textContent;
      if (unfinished.test(text)) growing.add(said);
      else if (growing.delete(said)) spoken.textContent = text.trim().slice(0, 4000);
    }
  };

  const changed = new MutationObserver(() => {
    const now = one("#channel input")?.value ?? "";
    if (now !== channel) [channel, held, growing, picked] = [now, false, new WeakSet(), null];
    if (log.firstElementChild) sizes.observe(log.firstElementChild);
    pickAgain();
    follow();
    tell();
  });
  const watchLog = () => {
    const found = one("#chat [role=log]");
    if (!found || found === log) return;
    log = found;
    log.setAttribute("aria-live", "off");
    followLog();
    changed.observe(log, { childList: true, subtree: true, characterData: true });
    follow();
  };

  // After each change of the page, a moment later.
  const afterChanges = () => {
    fixAccessibility();
    restoreDrafts();
    noticeConnection();
    showTools();
    showHint();
    watchLog();
  };
  let waiting = 0;
  new MutationObserver(() => { waiting = waiting || setTimeout(() => { waiting = 0; afterChanges(); }, 100); })
    .observe(document.body, { childList: true, subtree: true });
  afterChanges();
  showEditing();
  if (document.activeElement === document.body && matchMedia("(hover: hover)").matches) box()?.focus();
}
