// The pictures of the page (distill/ui/charts) in the browser: a read-out under the pointer or by the arrow keys.
// The page redraws pictures whenever it likes: nothing hangs on an element of theirs, all listeners are on the document,
// the read-out is a child of body, and what a visitor had open or focused is found again. Downloads: picture-files.js.
(() => {
  "use strict";
  if (window.distillPictures) return;

  const open = new Set(); // names of the pictures whose numbers are unfolded
  let held = null; // where the read-out stands: {name, panel, keys, ...}, or null
  let focused = null; // {element, name, place}: what in a picture had the focus last
  let layer = null;
  let status = null; // says to those who listen what the keys show

  const figureOf = (node) => (node instanceof Element ? node.closest("figure.picture") : null);
  const figureNamed = (name) => document.querySelector(`figure.picture[data-name="${CSS.escape(name)}"]`);
  const panelsOf = (figure) => [...figure.querySelectorAll(".picture-frame")];
  const controlsOf = (figure) => [...figure.querySelectorAll("button, summary, [tabindex]")];
  const numbers = (text) => (text ? text.split(",").map((one) => (one === "" ? NaN : Number(one))) : []);
  const between = (value, low, high) => Math.min(Math.max(value, low), high);

  function make(tag, className, ...children) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...children); // strings become text, never HTML
    return element;
  }

  // The same words for a value as axes.say in Python.
  function say(value, percent) {
    if (!Number.isFinite(value)) return "–";
    const fixed = (number, digits) =>
      number.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: !percent });
    if (percent) return `${fixed(100 * value, 1)}%`;
    const size = Math.abs(value);
    if (size && size < 1e-3) return value.toExponential(1);
    if (size >= 1e15) return value.toExponential(2);
    return fixed(value, size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
  }

  // ---- what a picture holds

  // [{name, swatch, colour, xs, ys, lo, hi}] of a line chart; a curve without data-x has the xs of the one before.
  function curvesOf(figure) {
    const legend = figure.querySelectorAll(".picture-legend li");
    let xs = [];
    return [...figure.querySelectorAll("path[data-s]")].map((path) => {
      if (path.dataset.x) xs = numbers(path.dataset.x);
      const item = legend[Number(path.dataset.s)];
      return {
        name: item.querySelector("span").textContent,
        swatch: item.querySelector("svg"),
        colour: getComputedStyle(path).stroke,
        xs,
        ys: numbers(path.dataset.y),
        lo: path.dataset.lo && numbers(path.dataset.lo),
        hi: path.dataset.hi && numbers(path.dataset.hi),
      };
    });
  }

  // Every x at which some curve has a value, in order.
  function stepsOf(curves) {
    const found = new Set();
    for (const curve of curves) curve.xs.forEach((x, k) => Number.isFinite(curve.ys[k]) && found.add(x));
    return [...found].sort((a, b) => a - b);
  }

  function nearest(values, wanted) {
    let best = -1;
    values.forEach((value, k) => {
      if (best < 0 || Math.abs(value - wanted) < Math.abs(values[best] - wanted)) best = k;
    });
    return best;
  }

  // ---- the read-out

  function layerOf() {
    if (!layer?.isConnected) {
      layer = make("div", "picture-layer");
      layer.setAttribute("aria-hidden", "true");
      status = make("div", "picture-unseen");
      status.setAttribute("role", "status");
      document.body.append(layer, status);
    }
    return layer;
  }

  function place(className, left, top, more = {}) {
    const element = make("div", className);
    for (const [key, value] of Object.entries({ left, top, ...more }))
      element.style[key] = typeof value === "number" ? `${value}px` : value;
    layerOf().append(element);
    return element;
  }

  function readout(heading, rows, x, top) {
    const box = place("picture-readout", 0, 0, { fontFamily: getComputedStyle(figureNamed(held.name)).fontFamily });
    box.append(make("b", "", heading));
    for (const { swatch, name, text } of rows)
      box.append(make("div", "", ...(swatch ? [swatch.cloneNode(true)] : []), make("span", "", name), make("b", "", text)));
    const wide = box.offsetWidth;
    const left = x + 14 + wide > innerWidth - 8 ? x - 14 - wide : x + 14;
    box.style.left = `${between(left, 8, Math.max(8, innerWidth - wide - 8))}px`;
    box.style.top = `${between(top, 8, Math.max(8, innerHeight - box.offsetHeight - 8))}px`;
    return [heading, ...rows.map(({ name, text }) => `${name} ${text}`.trim())].join(", ");
  }

  function showLines(figure, svg) {
    const curves = curvesOf(figure);
    const steps = stepsOf(curves);
    if (!steps.length) return null;
    const [x0, x1, y0, y1] = figure.dataset.scale.split(" ").map(Number);
    const percent = "percent" in figure.dataset;
    const area = svg.getBoundingClientRect();
    if (!held.keys) held.x = x0 + held.across * (x1 - x0);
    const x = (held.x = steps[nearest(steps, held.x)]);
    const left = area.left + ((x - x0) / (x1 - x0)) * area.width;
    place("picture-rule", left, area.top, { height: area.height });
    const rows = [];
    for (const curve of curves) {
      const k = nearest(curve.xs, x);
      const y = curve.ys[k];
      // Another curve's steps may lie elsewhere: a value from farther than the width of the rule's surroundings is none.
      if (!Number.isFinite(y) || Math.abs(curve.xs[k] - x) > 0.02 * (x1 - x0)) continue;
      const up = "log" in figure.dataset ? Math.log(y / y0) / Math.log(y1 / y0) : (y - y0) / (y1 - y0);
      place("picture-point", left, area.bottom - between(up, 0, 1) * area.height, { background: curve.colour });
      const ends = curve.lo ? ` (${say(curve.lo[k], percent)} to ${say(curve.hi[k], percent)})` : "";
      rows.push({ swatch: curve.swatch, name: curve.name, text: say(y, percent) + ends });
    }
    const at = x.toLocaleString("en", { maximumFractionDigits: Number.isInteger(x) ? 0 : Math.abs(x) < 100 ? 1 : 0 });
    return readout(`${figure.dataset.xLabel} ${at}`, rows, left, area.top);
  }

  function showCell(figure, svg, frame) {
    const [rows, columns] = [Number(frame.dataset.rows), Number(frame.dataset.columns)];
    const area = svg.getBoundingClientRect();
    if (!held.keys) {
      held.row = Math.floor(held.down * rows);
      held.column = Math.floor(held.across * columns);
    }
    const row = (held.row = between(held.row, 0, rows - 1));
    const column = (held.column = between(held.column, 0, columns - 1));
    const [wide, high] = [area.width / columns, area.height / rows];
    const [left, top] = [area.left + column * wide, area.top + row * high];
    place("picture-box", left, top, { width: wide, height: high });
    const tables = [...figure.querySelectorAll(".picture-scroll table")];
    const [first] = tables;
    const heading = `${first.tBodies[0].rows[row].cells[0].textContent}, ${first.tHead.rows[0].cells[column + 1].textContent}`;
    const values = tables.map((table) => ({
      name: table.caption?.textContent ?? "",
      text: table.tBodies[0].rows[row].cells[column + 1].textContent || "–",
    }));
    return readout(heading, values, left + wide, top);
  }

  function show() {
    layerOf().replaceChildren();
    const figure = held && figureNamed(held.name);
    const frame = figure && panelsOf(figure)[held.panel];
    const svg = frame?.querySelector("svg.picture-svg[tabindex]");
    if (!svg) return;
    const said = figure.dataset.kind === "lines" ? showLines(figure, svg) : showCell(figure, svg, frame);
    if (held.keys && said) tell(said);
  }

  function hide() {
    held = null;
    layer?.replaceChildren();
  }

  function pointed(event) {
    const frame = event.target instanceof Element ? event.target.closest("figure.picture .picture-frame") : null;
    const svg = frame?.querySelector("svg.picture-svg[tabindex]");
    if (!svg) {
      if (held && !held.keys) hide();
      return;
    }
    const area = svg.getBoundingClientRect();
    const figure = figureOf(frame);
    const across = (event.clientX - area.left) / area.width;
    const down = (event.clientY - area.top) / area.height;
    held = { name: figure.dataset.name, panel: panelsOf(figure).indexOf(frame), keys: false, across, down };
    show();
  }

  function pressed(event) {
    if (event.key === "Escape") return hide();
    const svg = event.target instanceof Element && event.target.matches("svg.picture-svg[tabindex]") ? event.target : null;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], Home: [-1e9, 0], End: [1e9, 0] };
    const move = svg && !event.ctrlKey && !event.metaKey && !event.altKey && moves[event.key];
    if (!move) return;
    const figure = figureOf(svg);
    const [name, panel] = [figure.dataset.name, panelsOf(figure).indexOf(svg.closest(".picture-frame"))];
    const here = held?.name === name && held.panel === panel ? held : null;
    if (figure.dataset.kind === "lines") {
      if (move[1]) return; // up and down scroll the page
      const steps = stepsOf(curvesOf(figure));
      // The first press shows the end that the visitor comes from: the latest step, or with Home the first.
      const k = here ? nearest(steps, here.x) + move[0] : move[0] < -1 ? 0 : steps.length - 1;
      held = { name, panel, keys: true, x: steps[between(k, 0, steps.length - 1)] };
    } else {
      held = { name, panel, keys: true, row: (here?.row ?? 0) + (here ? move[1] : 0), column: (here?.column ?? 0) + (here ? move[0] : 0) };
    }
    event.preventDefault();
    show();
  }

  // Whether what a visitor clicks in a picture folds its numbers out or in.
  function folded({ target }) {
    const details = target instanceof Element && target.closest("summary") && target.closest("figure.picture details");
    if (!details) return;
    // The click has yet to do its work: what is closed now will be open.
    const { name } = figureOf(details).dataset;
    if (details.open) open.delete(name);
    else open.add(name);
  }

  function tell(text) {
    layerOf();
    if (status.textContent !== text) status.textContent = text;
  }

  // ---- redrawn pictures

  function restore() {
    for (const name of open) {
      const details = figureNamed(name)?.querySelector("details:not([open])");
      if (details) details.open = true;
    }
    if (focused && !focused.element.isConnected) {
      const again = document.activeElement === document.body && figureNamed(focused.name);
      if (again) controlsOf(again)[focused.place]?.focus({ preventScroll: true });
      else focused = null;
    }
    if (held) show();
  }

  document.addEventListener("focusin", ({ target }) => {
    const figure = figureOf(target);
    focused = figure && { element: target, name: figure.dataset.name, place: controlsOf(figure).indexOf(target) };
  });
  document.addEventListener("focusout", ({ target }) => {
    setTimeout(() => {
      if (!target.isConnected || document.activeElement === target) return; // redrawn, or back already
      if (focused?.element === target) focused = null;
      if (held?.keys && !focused) hide();
    });
  });
  document.addEventListener("pointermove", pointed);
  document.addEventListener("pointerdown", pointed);
  document.documentElement.addEventListener("pointerleave", () => held && !held.keys && hide());
  document.addEventListener("keydown", pressed);
  document.addEventListener("click", folded);
  addEventListener("scroll", () => held && show(), { capture: true, passive: true });
  addEventListener("resize", () => held && show());
  new MutationObserver((records) => {
    if (records.some(({ target }) => !layer?.contains(target) && target !== status)) restore();
  }).observe(document.documentElement, {
    childList: true, subtree: true, attributes: true, attributeFilter: ["open", "data-y", "data-name", "data-scale"],
  });

  window.distillPictures = { figureOf, curvesOf, stepsOf, make, tell };
})();
