// The Runs tab in the browser, run by Gradio for the table of runs and for the open run's details with `element` and
// `watch`. Gradio writes new rows over old ones, cell by cell: what a visitor ticked, where the focus is and how far they
// scrolled belongs to a run, not to a cell, and is put back after every change. What they choose is told to the component
// #runs-chosen, for the server.
let ticked = []; // runs, in the order of ticking
let focused = null; // {run, tag} of what has the focus in the table
let top_ = null; // {run, offset} of the first row in sight, once somebody has scrolled

const runOf = (node) => node?.closest?.("tr[data-run]")?.dataset.run ?? "";
const rowOf = (run) => [...element.querySelectorAll("tr[data-run]")].find((row) => row.dataset.run === run);

function tell(open) {
  const detail = { ticked, open };
  document.querySelector("#runs-chosen")?.dispatchEvent(new CustomEvent("chosen", { detail, bubbles: true }));
}

function settle() {
  for (const box of element.querySelectorAll("tr input")) box.checked = ticked.includes(runOf(box));
  for (const time of element.querySelectorAll("time[datetime]")) {
    const said = new Date(time.dateTime);
    time.textContent = said.toLocaleString(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
    time.title = said.toLocaleString();
  }
  const active = runOf(document.activeElement);
  if (focused && active && active !== focused.run && element.contains(document.activeElement)) {
    rowOf(focused.run)?.querySelector(focused.tag).focus({ preventScroll: true });
  }
  const scroll = element.querySelector(".runs-scroll");
  const row = top_ && rowOf(top_.run);
  if (scroll && row) scroll.scrollTop = row.offsetTop + top_.offset;
}

element.addEventListener("focusin", (event) => {
  const run = runOf(event.target);
  focused = run ? { run, tag: event.target.tagName } : null;
});
element.addEventListener("scroll", (event) => {
  const scroll = event.target;
  if (!scroll.classList?.contains("runs-scroll")) return;
  const row = [...scroll.querySelectorAll("tr[data-run]")].find((one) => one.offsetTop + one.offsetHeight > scroll.scrollTop);
  top_ = row && scroll.scrollTop > 0 ? { run: runOf(row), offset: scroll.scrollTop - row.offsetTop } : null;
}, true);
element.addEventListener("change", (event) => {
  const run = runOf(event.target);
  if (!run) return;
  ticked = ticked.filter((one) => one !== run);
  if (event.target.checked) ticked.push(run);
  tell("");
});
element.addEventListener("click", async (event) => {
  const link = event.target.closest?.("tr[data-run] a");
  if (link && !event.button && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    tell(runOf(link));
    setTimeout(() => document.querySelector("#runs-details")?.scrollIntoView({ block: "nearest" }), 600);
  }
  const button = event.target.closest?.("[data-copy]");
  if (!button) return;
  const url = location.origin + location.pathname + button.dataset.copy;
  const said = button.parentElement.querySelector("[role=status]");
  try {
    await navigator.clipboard.writeText(url);
    said.textContent = "Copied.";
  } catch {
    said.textContent = url; // a page without https may not copy: it can be selected here
  }
});
watch("value", settle);
settle();
