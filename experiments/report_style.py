"""The report page's style sheet."""

CSS = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1d1d1f; --quiet: #65656b; --rule: #dedee2; --link: #1f4e9c;
  --cell: 128px;
}
@media (prefers-color-scheme: dark) {
  :root { --paper: #151619; --ink: #e6e6e8; --quiet: #9c9ca3; --rule: #33343a; --link: #82b1ff; }
}
@media (max-width: 720px) { :root { --cell: 80px; } }
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%;
}
main { max-width: 1264px; margin: 0 auto; padding: 56px 24px 96px; }
p, .note { max-width: 70ch; margin: 0 0 1em; overflow-wrap: anywhere; }
h1 {
  font-size: 2rem; line-height: 1.2; font-weight: 650; letter-spacing: -0.015em; margin: 0 0 20px;
}
h2 {
  font-size: 1.35rem; line-height: 1.3; font-weight: 650; letter-spacing: -0.01em;
  margin: 88px 0 16px; padding-top: 20px; border-top: 1px solid var(--rule);
}
h3, h4 { font-size: 1.02rem; font-weight: 650; margin: 0 0 6px; overflow-wrap: anywhere; }
h3.region { font-size: 1.15rem; margin: 52px 0 -20px; }
.lead { font-size: 1.12rem; }
.note, .quiet { color: var(--quiet); }
.note { font-size: 0.9rem; }
a { color: var(--link); text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
code { font: 0.92em/1.4 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
nav ol {
  list-style: none; display: flex; flex-wrap: wrap; gap: 4px 28px;
  margin: 32px 0 0; padding: 0; font-size: 0.95rem;
}
img { display: block; height: auto; }
.pixels { image-rendering: pixelated; }
.plot { max-width: none; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: 0.94rem; }
th, td {
  text-align: left; vertical-align: baseline; padding: 9px 28px 9px 0;
  border-bottom: 1px solid var(--rule); font-weight: 400; overflow-wrap: break-word;
}
thead th { color: var(--quiet); font-size: 0.85rem; }
tr > :last-child { padding-right: 0; }
.headline td:nth-child(2) { font-weight: 600; white-space: nowrap; }
.headline th, .headline td:nth-child(3) { white-space: nowrap; }
.headline td:last-child { color: var(--quiet); min-width: 260px; white-space: normal; }
/* Settings hold paths and digests; elsewhere no word or number is broken. */
.narrow td { overflow-wrap: anywhere; }
.narrow th, .narrow td { padding-top: 5px; padding-bottom: 5px; }
.right td:last-child { text-align: right; }
.cells { display: grid; width: max-content; font-size: 0.85rem; }
.cells > .head { text-align: center; padding: 0 4px 6px; align-self: end; line-height: 1.3; }
.cells > .side { color: var(--quiet); padding-right: 20px; align-self: center; }
.cells > .value { text-align: center; line-height: 1.6; }
.zero { font-weight: 650; }
.facts { display: flex; flex-wrap: wrap; gap: 6px 36px; margin: 0 0 14px; font-size: 0.9rem; }
.facts dt { color: var(--quiet); font-size: 0.82rem; }
.facts dd { margin: 0; }
.semantic { margin: 40px 0 0; }
.semantic > .row { display: flex; flex-wrap: wrap; gap: 20px 32px; align-items: flex-start; }
.cards {
  display: grid; gap: 36px 24px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, calc(2 * var(--half) + 4px)), 1fr));
  --half: 192px; margin: 28px 0;
}
.card { min-width: 0; border-top: 1px solid var(--rule); padding-top: 10px; }
.card .pair { display: grid; grid-template-columns: repeat(2, minmax(0, var(--half))); gap: 4px; }
.card .pair { margin: 6px 0 8px; }
.card .pair img { width: 100% !important; }
.card figcaption, .card figure { margin: 0; }
.card figcaption { color: var(--quiet); font-size: 0.8rem; padding-top: 3px; }
.card .facts { display: grid; grid-template-columns: 1.3fr 1.2fr 1fr; gap: 2px 12px; margin: 0; }
.card .facts > div { min-width: 0; }
.strip { margin: 44px 0 0; }
.swatch {
  display: inline-block; width: 0.8em; height: 0.8em; margin: 0 0.25em 0 0; border-radius: 2px;
}
.columns {
  display: grid; gap: 8px 56px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr));
}
.columns > div { min-width: 0; }
.columns h3 { margin-top: 20px; }
@media (max-width: 720px) {
  main { padding: 32px 16px 64px; }
  h1 { font-size: 1.6rem; }
  h2 { margin-top: 64px; }
  .cells > .side { padding-right: 12px; }
  th, td { padding-right: 18px; }
  .headline, .headline tbody { display: block; }
  .headline thead { display: none; }
  .headline tr {
    display: grid; grid-template-columns: 1fr auto auto; gap: 2px 14px; padding: 10px 0;
    border-bottom: 1px solid var(--rule);
  }
  .headline tr > * { padding: 0; border: 0; }
  .headline tr > :first-child { white-space: normal; }
  .headline tr > :last-child { grid-column: 1 / -1; font-size: 0.88rem; min-width: 0; }
}
@media print {
  h2, h3, h4 { break-after: avoid; }
  .card, .strip, .semantic { break-inside: avoid; }
}
"""
"""Light and dark by the reader's preference; wide content scrolls inside ``.scroll``."""
