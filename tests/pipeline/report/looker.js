// Opens PAGES in frames and writes what it finds of each as JSON into <pre id="found">.
const WIDTHS = [390, 1280];
const TEXTS = "p, td, th, dt, dd, figcaption, small span, summary, li, h1, h2, h3, .layer";
const NAMED = "svg:not(.key), [role=img], [role=region], img, [tabindex]";

const rgb = (text) => text.match(/[\d.]+/g).slice(0, 3).map(Number);
const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const luminance = (c) => rgb(c).reduce((sum, v, i) => sum + linear(v / 255) * [0.2126, 0.7152, 0.0722][i], 0);
// the contrast of two colours by WCAG 2.2
function contrast(one, other) {
  const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
}

function isNamed(one) {
  const own = one.getAttribute("aria-label") || one.alt || one.textContent.trim();
  return own || one.closest("[aria-label], [aria-hidden]");
}

function looked(frame, page, width) {
  const doc = frame.contentDocument, root = doc.documentElement, view = frame.contentWindow;
  const style = (one) => view.getComputedStyle(one), all = (words) => [...doc.querySelectorAll(words)];
  for (const one of all("details")) one.open = true;
  const found = { page, width, scroll: root.scrollWidth, inner: view.innerWidth, colours: {}, contrast: {} };
  const isWide = (one) => !one.closest(".scroll, svg") && one.getBoundingClientRect().right > width + 1;
  found.wide = all("body *").filter(isWide).map((one) => `${one.tagName}.${one.className}`);
  for (const theme of ["light", "dark"]) {
    doc.getElementById(theme).checked = true;
    const page = style(doc.body).backgroundColor;
    found.colours[theme] = page;
    found.contrast[theme] = Math.min(...all(TEXTS).map((one) => contrast(style(one).color, page)));
  }
  found.unnamed = all(NAMED).filter((one) => !isNamed(one)).map((one) => one.outerHTML.slice(0, 90));
  found.broken = all("img").filter((one) => !one.naturalWidth).length;
  const layer = doc.querySelector(".network > li[tabindex]");
  if (layer) {
    layer.focus();
    found.tip = style(layer.querySelector(".tip")).display;
    found.focused = doc.activeElement === layer;
  }
  found.tags = [...new Set(all("*").map((one) => one.tagName.toLowerCase()))];
  found.text = doc.body.textContent;
  found.pwned = !!(view.pwned || window.pwned);
  return found;
}

onload = () => {
  const out = [];
  for (const page of PAGES)
    for (const width of WIDTHS) {
      const frame = document.createElement("iframe");
      Object.assign(frame, { width, height: 900, src: page });
      frame.onload = () => {
        out.push(looked(frame, page, width));
        if (out.length < PAGES.length * WIDTHS.length) return;
        const pre = document.createElement("pre");
        Object.assign(pre, { id: "found", textContent: JSON.stringify(out) });
        document.body.replaceChildren(pre);
      };
      document.body.append(frame);
    }
};
