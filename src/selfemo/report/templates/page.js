"use strict";
// Charts are drawn when they come into view, and rounds are shown one at a time.
const data = JSON.parse(document.getElementById("data").textContent);

const embedding = {
  mode: "vega-lite", renderer: "svg", actions: false, defaultStyle: false,
  ast: true,  // expressions are interpreted: the page's policy allows no other script than its own
  tooltip: { disableDefaultStyle: true },
};

async function draw(plot) {
  const spec = data.charts[plot.dataset.chart];
  if (!spec || plot.dataset.drawn) return;
  plot.dataset.drawn = "yes";
  const columns = plot.clientWidth < 420 ? 1 : Math.floor(plot.clientWidth / 130);  // what has no room is cut off
  const config = { ...data.theme, legend: { ...data.theme.legend, columns } };
  await vegaEmbed(plot, spec, { ...embedding, config });
}

const plots = document.querySelectorAll(".plot");
const coming = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    coming.unobserve(entry.target);
    draw(entry.target);
  }
}, { rootMargin: "400px" });
plots.forEach((plot) => coming.observe(plot));
window.addEventListener("beforeprint", () => plots.forEach(draw));

const picker = document.getElementById("picker");
const sections = [...document.querySelectorAll(".round")];

function show(round) {
  for (const section of sections) section.hidden = section.dataset.round !== round;
  window.dispatchEvent(new Event("resize"));  // a chart that was hidden takes its width again
}

if (picker && sections.length > 1) {
  picker.hidden = false;
  picker.addEventListener("change", (event) => show(event.target.value));
  show(picker.querySelector("input:checked").value);
}
