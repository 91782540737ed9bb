"use strict";
/* What a page does beyond links and forms. Everything works without it, but for what changes by itself. From the
   server come texts, words and points of lines, and they are set as such: never HTML. */
(() => {
  const root = document.documentElement;
  const FLOWS_EVERY = 15000;
  const LONGEST_ADDRESS = 4000;

  /* ---- light and dark: the system's, or what is chosen here; theme.js has set it ---- */

  const themes = ["system", "light", "dark"];
  const button = document.querySelector("[data-theme-button]");
  if (button) {
    let theme = root.dataset.theme || "system";
    const name = () => { button.textContent = `Theme: ${theme}`; };
    name();
    button.hidden = false;
    button.addEventListener("click", () => {
      theme = themes[(themes.indexOf(theme) + 1) % themes.length];
      try { window.localStorage.setItem("xclaim-theme", theme); } catch { /* then until the next page */ }
      if (theme === "system") delete root.dataset.theme;
      else root.dataset.theme = theme;
      name();
    });
  }

  /* ---- links out of the frame that Airflow shows this in ---- */

  /* Its sandbox lets no frame move the page around it. A link of that page is not of the frame, and may. */
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-leaves]");
    if (!link || window.parent === window || event.ctrlKey || event.metaKey || event.shiftKey) return;
    try {
      const outer = window.parent.document;
      const way = Object.assign(outer.createElement("a"), { href: link.href });
      event.preventDefault();
      outer.body.append(way);
      way.click();
      way.remove();
    } catch { /* a page of others is around this one: the link opens here */ }
  });

  /* ---- what an action has said is said once, also after a reload ---- */

  const here = new URL(window.location.href);
  if (here.searchParams.has("flash")) {
    here.searchParams.delete("flash");
    window.history.replaceState(null, "", here.href);
  }

  /* ---- times, in the clock of who looks ---- */

  for (const time of document.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.getTime())) time.title = `${time.title} (here: ${at.toLocaleString()})`;
  }

  /* ---- cells that change ---- */

  const cells = new Map();
  for (const cell of document.querySelectorAll("[data-cell]")) {
    const same = cells.get(cell.dataset.cell) || [];
    cells.set(cell.dataset.cell, [...same, cell]);
  }
  const said = document.querySelector("[data-live-said]");

  const show = (element, value) => {
    if (value.text !== undefined && element.textContent !== value.text) {
      element.textContent = value.text;
      if (element.dataset.says && said) said.textContent = `${element.dataset.says}: ${value.text}`;
    }
    if (value.state !== undefined) element.className = `verdict ${value.state}`;
    if (value.path !== undefined) element.querySelector("path").setAttribute("d", value.path);
    if (value.label !== undefined) element.setAttribute("aria-label", value.label);
  };
  const showAll = (changed) => {
    for (const [key, value] of Object.entries(changed)) {
      for (const element of cells.get(key) || []) show(element, value);
    }
  };

  /* ---- live: a stream of events, while the page is in view and not paused ---- */

  const live = document.querySelector("[data-live]");
  let isPaused = false;
  if (live) {
    const state = live.querySelector("[data-live-state]");
    const pause = live.querySelector("[data-live-pause]");
    const reload = live.querySelector("[data-live-reload]");
    let source = null;

    const compareNames = (names) => {
      const shown = [...document.querySelectorAll("tr[data-queue]")].map((row) => row.dataset.queue);
      const isSame = shown.length === names.length && names.every((name) => shown.includes(name));
      reload.hidden = isSame;
    };
    const close = () => {
      if (source) source.close();
      source = null;
    };
    const open = () => {
      close();
      if (isPaused || document.hidden) return;
      source = new EventSource(live.dataset.live);
      source.addEventListener("open", () => { state.textContent = "Live"; });
      source.addEventListener("cells", (event) => {
        const changed = JSON.parse(event.data);
        showAll(changed);
        if (changed.names) compareNames(changed.names.names);
      });
      source.addEventListener("trouble", (event) => {
        state.textContent = JSON.parse(event.data).text || "Live";
      });
      source.addEventListener("over", (event) => {
        state.textContent = JSON.parse(event.data).text;
        close();
      });
      source.addEventListener("error", () => {
        if (source && source.readyState === EventSource.CLOSED) state.textContent = "Not live: reload to see what is new";
      });
    };

    live.hidden = false;
    pause.addEventListener("click", () => {
      isPaused = !isPaused;
      pause.setAttribute("aria-pressed", String(isPaused));
      pause.textContent = isPaused ? "Go on" : "Pause updates";
      state.textContent = isPaused ? "Paused" : "Live";
      open();
    });
    document.addEventListener("visibilitychange", open);
    window.addEventListener("pagehide", close);
    window.addEventListener("pageshow", (event) => { if (event.persisted) open(); });
    open();
  }

  /* ---- how fast the queues are that are in view: asked for when they come into it ---- */

  const rows = document.querySelectorAll("tr[data-queue]");
  if (live && rows.length && "IntersectionObserver" in window) {
    const inView = new Set();
    let timer = null;

    const ask = async (names) => {
      const address = new URL(live.dataset.flows, window.location.href);
      for (const name of names) address.searchParams.append("name", name);
      const answer = await fetch(address, { headers: { accept: "application/json" } });
      if (answer.ok && !answer.redirected) showAll(await answer.json());
    };
    const askForThoseInView = async () => {
      timer = null;
      if (document.hidden) return;
      let names = [];
      let length = 0;
      const all = [...inView];
      for (const [index, name] of all.entries()) {
        names.push(name);
        length += encodeURIComponent(name).length + 6;
        if (names.length === 25 || length > LONGEST_ADDRESS || index === all.length - 1) {
          try { await ask(names); } catch { /* the server is gone for the moment: asked again later */ }
          names = [];
          length = 0;
        }
      }
    };
    const soon = () => { if (timer === null) timer = window.setTimeout(askForThoseInView, 150); };

    const watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) inView.add(entry.target.dataset.queue);
        else inView.delete(entry.target.dataset.queue);
      }
      soon();
    }, { rootMargin: "200px" });
    for (const row of rows) watcher.observe(row);
    window.setInterval(() => { if (!isPaused) soon(); }, FLOWS_EVERY);
  }
})();
