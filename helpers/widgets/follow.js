// A map of values, large enough to hit one of them: click, drag or arrow keys choose it.
const SIDE = 280; // px

function render({ model, el }) {
  const map = document.createElement("div"), image = new Image(), mark = document.createElement("div");
  map.className = "pixel-map";
  map.tabIndex = 0;
  map.setAttribute("role", "application");
  map.style.cssText = "position: relative; cursor: crosshair; touch-action: none; margin: 2px 0 6px";
  image.style.cssText = "width: 100%; height: 100%; image-rendering: pixelated; display: block; pointer-events: none";
  image.alt = "";
  mark.style.cssText = "position: absolute; box-sizing: border-box; outline: 2px solid #D55E00; border: 1px solid white; pointer-events: none";
  map.append(image, mark);
  el.append(map);

  function another() {
    const [rows, columns] = model.get("shape"), unit = SIDE / Math.max(rows, columns);
    map.style.width = columns * unit + "px";
    map.style.height = rows * unit + "px";
    const old = image.src;
    image.src = URL.createObjectURL(new Blob([model.get("image")], { type: "image/png" }));
    URL.revokeObjectURL(old);
  }
  function moved() {
    const [rows, columns] = model.get("shape"), [row, column] = model.get("value");
    mark.style.left = (100 * column) / columns + "%";
    mark.style.top = (100 * row) / rows + "%";
    mark.style.width = 100 / columns + "%";
    mark.style.height = 100 / rows + "%";
    map.setAttribute("aria-label", `map of the outputs: row ${row}, column ${column}; click or use the arrow keys`);
  }
  function choose(row, column) {
    const [rows, columns] = model.get("shape");
    model.set("value", [Math.min(rows - 1, Math.max(0, row)), Math.min(columns - 1, Math.max(0, column))]);
    model.save_changes();
  }
  function point(e) {
    const box = map.getBoundingClientRect(), [rows, columns] = model.get("shape");
    choose(Math.floor(((e.clientY - box.top) / box.height) * rows), Math.floor(((e.clientX - box.left) / box.width) * columns));
  }
  map.addEventListener("pointerdown", (e) => { map.setPointerCapture(e.pointerId); point(e); });
  map.addEventListener("pointermove", (e) => { if (e.buttons) point(e); });
  map.addEventListener("keydown", (e) => {
    const way = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[e.key];
    if (!way) return;
    e.preventDefault();
    const [row, column] = model.get("value");
    choose(row + way[0], column + way[1]);
  });
  model.on("change:image", another);
  model.on("change:value", moved);
  another();
  moved();
  return () => { model.off("change:image", another); model.off("change:value", moved); };
}

export default { render };
