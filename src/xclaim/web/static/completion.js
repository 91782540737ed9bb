"use strict";
/* The filter of messages completes what is typed. Without this its list has what fitted when the page was made. */
(() => {
  const input = document.querySelector("[data-completes]");
  const list = input && document.getElementById(input.getAttribute("list"));
  if (!list) return;
  const WAIT = 150;
  let timer = null;
  let asked = 0;

  const show = (choices) => {
    const options = choices.map(({ text, says }) => {
      const option = document.createElement("option");
      option.value = text;
      option.textContent = says;
      return option;
    });
    list.replaceChildren(...options);
  };
  const ask = async () => {
    asked += 1;
    const mine = asked;
    const address = new URL(input.dataset.completes, window.location.href);
    address.searchParams.set("text", input.value.slice(0, input.selectionEnd ?? undefined));
    try {
      const answer = await fetch(address, { headers: { accept: "application/json" } });
      if (answer.ok && !answer.redirected && mine === asked) show(await answer.json());
    } catch { /* the list stays as it is */ }
  };
  input.addEventListener("input", () => {
    window.clearTimeout(timer);
    timer = window.setTimeout(ask, WAIT);
  });
})();
