(() => {
  const $ = id => document.getElementById(id);
  const opened = () => {
    const part = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (part && part.tagName === "DETAILS") part.open = true;
  };
  addEventListener("hashchange", opened);
  opened();
  const links = [...document.querySelectorAll("nav a")];
  const seen = new Map();
  const watch = new IntersectionObserver(entries => {
    entries.forEach(entry => seen.set(entry.target.id, entry.isIntersecting));
    const at = links.find(link => seen.get(link.hash.slice(1)));
    links.forEach(link => link === at ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current"));
  }, {rootMargin: "-70px 0px -45% 0px"});
  document.querySelectorAll("main > section").forEach(section => watch.observe(section));
  let unfolded = [];
  addEventListener("beforeprint", () => {
    unfolded = [...document.querySelectorAll("details:not([open])")];
    unfolded.forEach(part => { part.open = true; });
  });
  addEventListener("afterprint", () => unfolded.forEach(part => { part.open = false; }));

  const data = JSON.parse($("map-data").textContent);
  const map = $("map"), panel = $("panel"), legend = $("legend"), colour = $("colour"), search = $("search");
  const thumbs = $("thumbs"), pictures = $("pictures");
  const dots = [...map.querySelectorAll("path")];
  const [colours, shapes] = data.sizes, WIDE = 480, HIGH = 400, EDGE = 14;
  const picked = name => (document.querySelector(`input[name=${name}]:checked`) || {}).value;
  const words = data.names.map((name, i) => [name, data.texts[i], ...data.values[i]].join(" ").toLowerCase());
  let places = [], current = -1, held = false, zoom = 1, middle = [WIDE / 2, HIGH / 2];

  const element = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const picture = (i, number, side) => {
    const sprite = data.sprites[number], made = element("span", undefined, "pic s" + number);
    made.style.cssText = `--x:${i % sprite.across};--y:${Math.floor(i / sprite.across)};--side:${side}px`;
    return made;
  };
  const look = (target, code) => {
    const other = code < 0 || (!target.steps && code >= colours * shapes - 1 && target.labels.at(-1) === "all others");
    if (other) return ["kx", data.dots[0]];
    return target.steps ? ["q" + code, data.dots[0]] : ["k" + code % colours, data.dots[code % shapes]];
  };

  function lay() {
    const how = picked("how") || "pca", named = data.layouts[how], names = Object.keys(named);
    document.querySelectorAll("input[name=by]").forEach(input => { input.disabled = !named[input.value]; });
    let by = picked("by") || names.at(-1);
    if (!named[by]) {
      by = names.at(-1);
      const input = [...document.querySelectorAll("input[name=by]")].find(one => one.value === by);
      if (input) input.checked = true;
    }
    places = named[by].map(p => p && [WIDE / 2 + p[0] * (WIDE / 2 - EDGE), HIGH / 2 - p[1] * (HIGH / 2 - EDGE)]);
    map.querySelector("title").textContent = `Map of ${places.filter(p => p).length} records by ${by}`;
    place();
  }

  function place() {
    const size = zoom ** -0.75;
    dots.forEach((dot, i) => {
      dot.style.display = places[i] ? "" : "none";
      if (places[i]) dot.style.transform = `translate(${places[i][0].toFixed(2)}px,${places[i][1].toFixed(2)}px)` + (zoom > 1 ? ` scale(${size.toFixed(3)})` : "");
    });
    view();
  }

  const box = () => [middle[0] - WIDE / 2 / zoom, middle[1] - HIGH / 2 / zoom, WIDE / zoom, HIGH / zoom];

  function view() {
    middle = middle.map((at, axis) => {
      const half = [WIDE, HIGH][axis] / 2 / zoom;
      return Math.min([WIDE, HIGH][axis] - half, Math.max(half, at));
    });
    const [x, y, wide, high] = box();
    map.setAttribute("viewBox", [x, y, wide, high].map(value => value.toFixed(2)).join(" "));
    map.classList.toggle("near", zoom > 1);
    map.classList.toggle("still", zoom > 1);
    if (!thumbs) return;
    const shown = !thumbs.checked ? [] : places.map((p, i) => {
      const number = p ? data.sprites.findIndex(sprite => sprite.there[i]) : -1;
      if (number < 0 || p[0] < x || p[1] < y || p[0] > x + wide || p[1] > y + high) return null;
      const made = picture(i, number, 28);
      made.style.left = `${100 * (p[0] - x) / wide}%`;
      made.style.top = `${100 * (p[1] - y) / high}%`;
      made.style.opacity = dots[i].classList.contains("off") ? .15 : 1;
      return made;
    }).filter(made => made);
    pictures.replaceChildren(...shown);
  }

  function zoomed(by, x = middle[0], y = middle[1]) {
    const before = zoom;
    zoom = by ? Math.min(24, Math.max(1, zoom * by)) : 1;
    if (!by) middle = [WIDE / 2, HIGH / 2];
    else middle = [x + (middle[0] - x) * before / zoom, y + (middle[1] - y) * before / zoom];
    place();
  }

  function paint() {
    const target = colour && data.colourings[colour.value], beside = held ? data.near[current] : [];
    dots.forEach((dot, i) => {
      const [name, shape] = target ? look(target, target.codes[i]) : ["k0", data.dots[0]];
      const off = search.value && !words[i].includes(search.value.toLowerCase());
      dot.setAttribute("class", name + (off ? " off" : "") + (i === current ? " on" : "") + (beside.includes(i) ? " beside" : ""));
      dot.setAttribute("d", shape);
    });
    if (!target) return;
    legend.replaceChildren(...target.labels.map((label, code) => {
      const item = element("li"), key = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      const dot = document.createElementNS("http://www.w3.org/2000/svg", "path"), [name, shape] = look(target, code);
      dot.setAttribute("class", name);
      dot.setAttribute("d", shape);
      key.setAttribute("viewBox", "-5 -5 10 10");
      key.setAttribute("aria-hidden", "true");
      key.append(dot);
      item.append(key, label);
      return item;
    }));
  }

  function tell(i, hold = false) {
    if (i < 0 || (i === current && hold === held)) return;
    current = i;
    held = hold;
    const shown = element("div");
    data.sprites.forEach((sprite, number) => {
      if (!sprite.there[i]) return;
      const made = picture(i, number, 112);
      made.setAttribute("role", "img");
      made.setAttribute("aria-label", `${sprite.modality} of ${data.names[i]}`);
      shown.append(made);
    });
    const list = element("dl");
    data.keys.forEach((key, k) => list.append(element("dt", key), element("dd", data.values[i][k])));
    panel.replaceChildren(element("h3", data.names[i]), shown, list);
    if (hold) {
      const near = element("ul", undefined, "near");
      data.near[i].forEach(other => {
        const item = element("li"), button = element("button"), about = element("span");
        button.type = "button";
        const there = [...data.sprites.keys()].filter(number => data.sprites[number].there[other]);
        there.slice(0, 3).forEach(number => button.append(picture(other, number, 40)));
        about.append(element("b", data.names[other]), data.texts[other] || data.values[other].join(", "));
        button.append(about);
        button.addEventListener("click", () => { tell(other, true); panel.querySelector("button")?.focus({preventScroll: true}); });
        item.append(button);
        near.append(item);
      });
      if (data.near[i].length) panel.append(element("h3", "Nearest records"), near);
      panel.scrollTop = 0;
    }
    paint();
  }

  function nearest(x, y, reach) {
    let best = -1, least = reach * reach;
    places.forEach((p, i) => {
      if (!p) return;
      const far = (p[0] - x) ** 2 + (p[1] - y) ** 2;
      if (far < least) [best, least] = [i, far];
    });
    return best;
  }

  function walk(dx, dy) {
    if (current < 0 || !places[current]) return tell(nearest(...middle, 1e4));
    const [x, y] = places[current];
    let best = -1, least = 1e9;
    places.forEach((p, i) => {
      if (!p || i === current) return;
      const along = (p[0] - x) * dx + (p[1] - y) * dy, aside = Math.abs((p[0] - x) * dy) + Math.abs((p[1] - y) * dx);
      const cost = along + 2 * aside;
      if (along > 0 && cost < least) [best, least] = [i, cost];
    });
    tell(best);
    if (zoom > 1 && best >= 0) { middle = [...places[best]]; view(); }
  }

  const where = event => {
    const frame = map.getBoundingClientRect(), [x, y, wide, high] = box();
    return [x + (event.clientX - frame.left) * wide / frame.width, y + (event.clientY - frame.top) * high / frame.height];
  };
  let drag = null;
  map.addEventListener("pointerdown", event => {
    drag = {at: [event.clientX, event.clientY], middle, moved: false};
  });
  map.addEventListener("pointermove", event => {
    if (drag && event.buttons && zoom > 1) {
      const wide = map.getBoundingClientRect().width, step = WIDE / zoom / wide;
      const [dx, dy] = [event.clientX - drag.at[0], event.clientY - drag.at[1]];
      drag.moved = drag.moved || Math.hypot(dx, dy) > 4;
      if (drag.moved) {
        middle = [drag.middle[0] - dx * step, drag.middle[1] - dy * step];
        return view();
      }
    }
    if (!held) tell(nearest(...where(event), 14 / zoom));
  });
  map.addEventListener("click", event => {
    const moved = drag && drag.moved;
    drag = null;
    if (moved) return;
    const i = nearest(...where(event), 14 / zoom);
    if (i >= 0) tell(i, true);
    else if (held) { held = false; paint(); }
  });
  map.addEventListener("wheel", event => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoomed(event.deltaY < 0 ? 1.25 : 0.8, ...where(event));
  }, {passive: false});
  map.addEventListener("dblclick", event => zoomed(2, ...where(event)));
  map.addEventListener("keydown", event => {
    const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
    const by = {"+": 1.6, "=": 1.6, "-": 0.625, "0": 0}[event.key];
    if (step) walk(...step);
    else if (by !== undefined && !event.ctrlKey) zoomed(by);
    else if (event.key === "Enter" && current >= 0) tell(current, true);
    else if (event.key === "Escape") { held = false; paint(); }
    else return;
    event.preventDefault();
  });
  document.querySelectorAll("[data-zoom]").forEach(button => button.addEventListener("click", () => zoomed(Number(button.dataset.zoom))));
  search.addEventListener("input", () => {
    const hits = words.filter(text => text.includes(search.value.toLowerCase())).length;
    $("hits").textContent = search.value ? `${hits} of ${words.length} records` : "";
    paint();
    view();
  });
  search.addEventListener("keydown", event => {
    const hit = words.findIndex((text, i) => places[i] && text.includes(search.value.toLowerCase()));
    if (event.key === "Enter" && search.value && hit >= 0) tell(hit, true);
  });
  if (thumbs) thumbs.addEventListener("change", view);
  document.querySelectorAll("input[name=by],input[name=how]").forEach(input => input.addEventListener("change", lay));
  if (colour) colour.addEventListener("change", paint);
  document.querySelectorAll(".controls").forEach(form => form.addEventListener("submit", event => event.preventDefault()));
  lay();
  paint();
})();
