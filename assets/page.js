/* What the page does in the browser besides Gradio: light and dark by choice, a log that stays where its reader is. */
(() => {
  const KEY = "distill-look";
  let look = new URLSearchParams(location.search).get("__theme") || localStorage.getItem(KEY);

  /* Gradio sets its own choice while it starts, so ours is set whenever the page has changed. */
  const dress = () => {
    if (look && document.body && document.body.classList.contains("dark") !== (look === "dark")) {
      document.body.classList.toggle("dark", look === "dark");
    }
  };

  document.addEventListener("click", (event) => {
    if (!event.target.closest("#look")) return;
    look = document.body.classList.contains("dark") ? "light" : "dark";
    localStorage.setItem(KEY, look);
    dress();
  });

  /* The address names the run that was chosen, so that a refresh and a copied address lead to it. */
  const name = () => {
    const chosen = document.querySelector("#status-line .line")?.dataset.chosen;
    const address = new URL(location.href);
    if (!chosen || address.searchParams.get("run") === chosen) return;
    address.searchParams.set("run", chosen);
    history.replaceState(history.state, "", address);
  };

  /* A log follows its end, unless its reader has scrolled up to read. */
  const follows = new Map();
  document.addEventListener("scroll", (event) => {
    const log = event.target;
    if (log.classList?.contains("log")) {
      follows.set(log.id, log.scrollHeight - log.scrollTop - log.clientHeight < 40 ? Infinity : log.scrollTop);
    }
  }, true);
  new MutationObserver(() => {
    dress();
    name();
    for (const log of document.querySelectorAll(".log")) {
      if (log.dataset.placed) continue;
      log.dataset.placed = "yes";
      log.scrollTop = Math.min(follows.get(log.id) ?? Infinity, log.scrollHeight);
    }
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
