// What a box of widgets needs of the page: keys that are its own, and names for its sliders.
function keepKeys(box) { // an arrow moves in a list, not to the next cell; JupyterLab asks the element itself, not its box
  for (const control of box.querySelectorAll("select, input, button, textarea, [tabindex]"))
    control.setAttribute("data-lm-suppress-shortcuts", "true");
}

function nameSliders(box) { // ipywidgets leaves the handles without a name
  for (const slider of box.querySelectorAll(".noUi-target")) {
    const label = slider.closest(".widget-inline-hbox")?.querySelector(".widget-label")?.textContent;
    const handles = slider.querySelectorAll(".noUi-handle");
    handles.forEach((handle, k) => handle.setAttribute(
      "aria-label", handles.length > 1 ? `${label}, ${["lower", "upper"][k]} end` : label));
  }
}

function render({ el }) {
  let waiting = 0, box = null;
  const look = () => {
    keepKeys(box);
    nameSliders(box);
  };
  const seen = new MutationObserver(look);
  const attached = () => {
    box = el.closest(".jp-OutputArea-output") ?? el.closest(".widget-vbox");
    if (!box) { waiting = requestAnimationFrame(attached); return; }
    look();
    seen.observe(box, { childList: true, subtree: true });
  };
  attached();
  return () => { cancelAnimationFrame(waiting); seen.disconnect(); };
}

export default { render };
