// The downloads of a picture (distill/ui/charts): as PNG, as it looks now, and as CSV, all its points. Made in the
// browser from what it shows already; nothing is asked of the server. Goes with pictures.js.
(() => {
  "use strict";
  if (window.distillPictureFiles) return;
  window.distillPictureFiles = true;

  const { figureOf, curvesOf, stepsOf, make, tell } = window.distillPictures;
  const SVG = "http://www.w3.org/2000/svg";

  function save(blob, name) {
    const link = make("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  // A cell of CSV; text that a spreadsheet would take for a formula is marked as text.
  function cell(value) {
    if (typeof value === "number") return Number.isFinite(value) ? String(value) : "";
    const text = /^[=+\-@\t\r]/.test(value) && Number.isNaN(Number(value)) ? `'${value}` : value;
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  function csvOfLines(figure) {
    const curves = curvesOf(figure);
    const columns = curves.flatMap((curve) => [
      [curve.name, curve.xs, curve.ys],
      ...(curve.lo ? [[`${curve.name} low`, curve.xs, curve.lo], [`${curve.name} high`, curve.xs, curve.hi]] : []),
    ]);
    const lookups = columns.map(([, xs, ys]) => new Map(xs.map((x, k) => [x, ys[k]])));
    const steps = stepsOf(curves);
    return [
      [figure.dataset.xLabel, ...columns.map(([name]) => name)],
      ...steps.map((x) => [x, ...lookups.map((lookup) => lookup.get(x) ?? NaN)]),
    ];
  }

  function csvOfTables(figure) {
    const value = (one) => {
      const text = one.querySelector("[data-v]")?.dataset.v ?? one.textContent;
      return one.tagName === "TD" && text.trim() !== "" && !Number.isNaN(Number(text)) ? Number(text) : text;
    };
    return [...figure.querySelectorAll(".picture-scroll table")].flatMap((table, k) => {
      const caption = table.caption ? [table.caption.textContent] : [];
      return [...table.rows]
        .filter((row, r) => !(k && !r)) // one heading is enough
        .map((row, r) => [...(caption.length ? [r || k ? caption[0] : ""] : []), ...[...row.cells].map(value)]);
    });
  }

  function saveCsv(figure) {
    const rows = figure.dataset.kind === "lines" ? csvOfLines(figure) : csvOfTables(figure);
    const text = rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
    // The mark at the start tells spreadsheets that this is UTF-8.
    save(new Blob(["\ufeff", text], { type: "text/csv;charset=utf-8" }), `${figure.dataset.name}.csv`);
  }

  const DRAWN = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-linecap",
    "stroke-linejoin", "opacity", "paint-order", "vector-effect", "shape-rendering", "transform", "display", "overflow",
    "font-family", "font-size", "font-weight", "font-variant-numeric", "text-anchor", "dominant-baseline"];

  // An image of an SVG as it looks now, on the box it draws on, margins included.
  async function imageOf(svg) {
    const around = (svg.closest(".picture-frame") ?? svg).getBoundingClientRect();
    const inside = svg.getBoundingClientRect();
    const copy = svg.cloneNode(true);
    const [from, to] = [[svg, ...svg.querySelectorAll("*")], [copy, ...copy.querySelectorAll("*")]];
    from.forEach((element, k) => {
      const style = getComputedStyle(element);
      for (const property of DRAWN) to[k].style.setProperty(property, style.getPropertyValue(property));
    });
    const whole = document.createElementNS(SVG, "svg");
    const parts = [[whole, 0, 0, around], [copy, inside.left - around.left, inside.top - around.top, inside]];
    for (const [one, x, y, { width, height }] of parts)
      for (const [key, value] of Object.entries({ x, y, width, height })) one.setAttribute(key, value);
    whole.append(copy);
    const image = new Image();
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(whole))}`;
    await image.decode();
    return { image, around };
  }

  function backgroundOf(element) {
    for (let one = element; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (!/^transparent$|, 0\)$/.test(colour)) return colour;
    }
    return "#ffffff";
  }

  // The words of a picture outside its SVGs, one by one, each where it stands.
  function* wordsOf(part) {
    const walker = document.createTreeWalker(part, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (node.parentElement.closest("svg")) continue;
      for (const { 0: word, index } of node.textContent.matchAll(/\S+/g)) {
        const range = document.createRange();
        range.setStart(node, index);
        range.setEnd(node, index + word.length);
        yield { word, box: range.getBoundingClientRect(), style: getComputedStyle(node.parentElement) };
      }
    }
  }

  async function savePng(figure) {
    const margin = 16;
    const parts = [...figure.querySelectorAll("figcaption, .picture-frames, .picture-legend, .picture-scale")];
    const boxes = parts.map((part) => part.getBoundingClientRect());
    const left = Math.min(...boxes.map((box) => box.left)) - margin;
    const top = Math.min(...boxes.map((box) => box.top)) - margin;
    const canvas = make("canvas");
    canvas.width = 2 * (Math.max(...boxes.map((box) => box.right)) + margin - left);
    canvas.height = 2 * (Math.max(...boxes.map((box) => box.bottom)) + margin - top);
    const pen = canvas.getContext("2d");
    pen.scale(2, 2);
    pen.fillStyle = backgroundOf(figure);
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.textBaseline = "middle";
    for (const part of parts)
      for (const { word, box, style } of wordsOf(part)) {
        pen.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
        pen.fillStyle = style.color;
        pen.fillText(word, box.left - left, (box.top + box.bottom) / 2 - top);
      }
    const drawings = parts.flatMap((part) => [...part.querySelectorAll("svg")]).filter((svg) => !svg.parentElement.closest("svg"));
    for (const { image, around } of await Promise.all(drawings.map(imageOf)))
      pen.drawImage(image, around.left - left, around.top - top, around.width, around.height);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
    save(blob, `${figure.dataset.name}.png`);
  }

  document.addEventListener("click", async ({ target }) => {
    const button = target instanceof Element && target.closest("figure.picture button.picture-download");
    if (!button) return;
    const figure = figureOf(button);
    try {
      await (button.dataset.kind === "csv" ? saveCsv(figure) : savePng(figure));
    } catch (error) {
      tell(`The picture could not be saved: ${error.message}`);
      console.error(error);
    }
  });
})();
