"""The look of the app's page, and the few lines of script that run in it."""

import gradio as gr

_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial")
# Plain names: a GoogleFont would be fetched from the internet.
THEME = gr.themes.Base(
    primary_hue=gr.themes.colors.blue,
    neutral_hue=gr.themes.colors.zinc,
    radius_size=gr.themes.sizes.radius_md,
    spacing_size=gr.themes.sizes.spacing_sm,
    text_size=gr.themes.sizes.text_sm,
    font=(*_FONTS, "sans-serif"),
    font_mono=("ui-monospace", "Menlo", "Consolas", "monospace"),
).set(
    slider_color="#1f4e9c",
    slider_color_dark="#82b1ff",
    button_primary_background_fill="#1f4e9c",
    button_primary_background_fill_hover="#2a61bd",
    button_primary_background_fill_dark="#2a5db0",
    button_primary_text_color="#ffffff",
    body_background_fill="#f6f6f8",
    body_background_fill_dark="#111215",
    block_background_fill="#ffffff",
    block_background_fill_dark="#1a1b1f",
    block_border_width="0px",
    block_shadow="none",
    body_text_color_subdued="#65656b",
    body_text_color_subdued_dark="#9c9ca3",
    block_info_text_color="#65656b",
    block_info_text_color_dark="#9c9ca3",
    block_label_text_color="#1d1d1f",
    block_title_text_color="#1d1d1f",
    block_title_text_color_dark="#e6e6e8",
    border_color_primary="#e3e3e8",
    border_color_primary_dark="#2b2c32",
    body_text_color="#1d1d1f",
    body_text_color_dark="#e6e6e8",
)

STYLE = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
main.fillable { padding: 20px 24px 32px !important; }
#top header { display: flex; align-items: baseline; gap: 14px; }
#top h1 { font-size: 1.5rem; font-weight: 650; letter-spacing: -0.015em; margin: 0; }
#top p { margin: 0; color: var(--body-text-color-subdued); }
#top .note { margin-top: 6px; }
/* Gradio's own margin around any HTML. */
.html-container { padding: 0 !important; }
#edit { gap: 24px; }
.stage { display: grid; grid-template-columns: repeat(6, 1fr); gap: 14px; }
.stage figure { margin: 0; min-width: 0; }
.stage .main { grid-column: span 4; }
.stage .pair { grid-column: span 2; display: flex; flex-direction: column; gap: 12px; }
.stage img, #sheet img, #render img {
  display: block; width: 100%; aspect-ratio: 1; border-radius: 8px; background: #8884;
}
.stage .picture { position: relative; cursor: crosshair; touch-action: manipulation; }
.stage .ring {
  position: absolute; width: 22px; height: 22px; margin: -11px 0 0 -11px; border-radius: 50%;
  border: 2px solid #fff; box-shadow: 0 0 0 1.5px #0009, inset 0 0 0 1.5px #0009;
  pointer-events: none; opacity: 0; transition: opacity 0.15s;
}
.stage .ring.on { opacity: 1; }
figcaption { margin-top: 5px; font-size: 0.82rem; color: var(--body-text-color-subdued); }
.stage .scale { color: inherit; }
figcaption b { color: var(--body-text-color); font-weight: 600; }
.chips { display: flex; flex-wrap: wrap; gap: 6px; min-height: 26px; grid-column: 1 / -1; }
.chips span {
  padding: 2px 9px; border-radius: 99px; font-size: 0.82rem; font-variant-numeric: tabular-nums;
  background: color-mix(in srgb, var(--slider-color) 14%, transparent);
}
.panel { border-radius: 10px !important; background: var(--block-background-fill) !important; }
.panel > .styler { padding: 8px 4px !important; gap: 2px !important; background: none !important; }
.panel .title { font-weight: 650; min-height: 22px; }
.panel div.block { padding: 4px 12px !important; background: none !important; }
.panel div.block { border: 0 !important; }
.panel div.block > .wrap .head { gap: 4px; align-items: flex-start; }
.panel .head label { min-width: 0; }
.panel .head input { width: 58px; text-align: right; font-variant-numeric: tabular-nums; }
.panel .min_value, .panel .max_value { display: none; }
.panel input[type="range"] { cursor: pointer; }
.panel input[type="range"] {
  --low: 0%; --high: var(--range_progress); --track: var(--border-color-primary);
  --fill: linear-gradient(to right, var(--track) var(--low), var(--slider-color) var(--low)
    var(--high), var(--track) var(--high));
}
/* From the middle, where these sliders stand at nothing. */
.panel .centred input[type="range"] {
  --low: min(50%, var(--range_progress)); --high: max(50%, var(--range_progress));
}
.panel input[type="range"]::-webkit-slider-runnable-track { background: var(--fill) !important; }
.panel input[type="range"]::-moz-range-track { background: var(--fill) !important; }
.panel input[type="range"]::-moz-range-progress { background: none !important; }
.panel input[type="range"]::-webkit-slider-thumb { box-shadow: 0 0 0 1px #0003, 0 1px 3px #0004; }
.dark input { color-scheme: dark; }
.panel .form { display: contents; }
.panel .row:not(.actions) {
  display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 4px 6px;
  background: none !important;
}
.panel.triples .row:not(.actions) { grid-template-columns: repeat(3, minmax(0, 1fr)); }
.actions { gap: 8px !important; padding: 2px 0; }
.actions button { border-radius: 7px !important; }
.panel .actions { padding: 6px 12px 4px; background: none !important; }
#sheet .parts { display: grid; grid-template-columns: repeat(6, 1fr); gap: 10px; margin: 10px 0; }
#sheet figure { margin: 0; }
#render img { max-width: 460px; }
.numbers { padding: 6px 12px; line-height: 1.6; font-variant-numeric: tabular-nums; }
footer { display: none !important; }
@media (max-width: 760px) {
  .stage .main, .stage .pair { grid-column: 1 / -1; }
  .stage .pair { flex-direction: row; }
  .stage .pair figure { flex: 1 1 0; }
  .panel.triples .row:not(.actions) { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  #sheet .parts { grid-template-columns: repeat(3, 1fr); }
}
"""

STAGE_TEMPLATE = """
<div class="stage">
  <figure class="main">
    <div class="picture"><img class="after" alt="The edited face" draggable="false">
      <span class="ring"></span></div>
    <figcaption><b>After</b> · click a part of the face to change it</figcaption>
  </figure>
  <div class="pair">
    <figure><img class="before" alt="The face before the edit"><figcaption><b>Before</b>
    </figcaption></figure>
    <figure><img class="difference" alt="What the edit changes"><figcaption><b>Difference</b> ·
      red lighter, blue darker<span class="scale"></span></figcaption></figure>
  </div>
  <div class="chips"></div>
</div>
"""

# The template has no values: it is drawn once, and the pictures change within it without a flash.
STAGE_SCRIPT = """
const find = (name) => element.querySelector(name);
const show = () => {
  const value = props.value || {};
  for (const name of ["after", "before", "difference"])
    if (value[name]) find("img." + name).src = value[name];
  find(".scale").textContent = value.scale ? "; " + value.scale : "";
  find(".chips").replaceChildren(...(value.changed || []).map((text) => {
    const chip = document.createElement("span");
    chip.textContent = text;
    return chip;
  }));
  const ring = find(".ring");
  ring.classList.toggle("on", Boolean(value.mark));
  if (value.mark) {
    ring.style.top = 100 * value.mark[0] + "%";
    ring.style.left = 100 * value.mark[1] + "%";
  }
};
watch("value", show);
show();
element.addEventListener("click", (event) => {
  if (!event.target.matches("img.after")) return;
  const box = event.target.getBoundingClientRect();
  trigger("select", {
    row: (event.clientY - box.top) / box.height,
    column: (event.clientX - box.left) / box.width,
  });
});
"""

SHEET_TEMPLATE = """
<div class="parts">{{#each value.parts}}
  <figure><img src="{{this.src}}" alt="{{this.name}}">
  <figcaption>{{this.name}}</figcaption></figure>
{{/each}}</div>
"""

RENDER_TEMPLATE = """
<figure><img src="{{value}}" alt="The head, rendered">
<figcaption><b>Rendered</b> from depth and albedo</figcaption></figure>
"""

DOWNLOAD_SCRIPT = """
watch("value", () => {
  if (!props.value || !props.value.data) return;
  const link = document.createElement("a");
  link.href = props.value.data;
  link.download = props.value.name;
  link.click();
});
"""
