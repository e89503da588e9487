(() => {
  const source = document.getElementById("map-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const map = document.getElementById("map"), panel = document.getElementById("panel");
  const legend = document.getElementById("legend"), colour = document.getElementById("colour");
  const dots = [...map.querySelectorAll("path")];
  const [colours, shapes] = data.sizes, WIDE = 480, HIGH = 400, EDGE = 14;
  const picked = name => (document.querySelector(`input[name=${name}]:checked`) || {}).value;
  const first = object => Object.keys(object)[0];
  let places = [], current = -1;

  const element = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const look = (target, code) => {
    const other = code < 0 || (!target.steps && code >= colours * shapes - 1 && target.labels.at(-1) === "all others");
    if (other) return ["kx", data.dots[0]];
    return target.steps ? ["q" + code, data.dots[0]] : ["k" + code % colours, data.dots[Math.floor(code / colours) % shapes]];
  };

  function lay() {
    const how = picked("how") || first(data.layouts), named = data.layouts[how];
    const by = picked("by") || Object.keys(named).at(-1);
    places = named[by].map(p => p && [WIDE / 2 + p[0] * (WIDE / 2 - EDGE), HIGH / 2 - p[1] * (HIGH / 2 - EDGE)]);
    dots.forEach((dot, i) => {
      dot.style.display = places[i] ? "" : "none";
      if (places[i]) dot.style.transform = `translate(${places[i][0].toFixed(1)}px,${places[i][1].toFixed(1)}px)`;
    });
    map.querySelector("title").textContent = `Map of ${places.filter(p => p).length} records by ${by}`;
  }

  function paint() {
    if (!colour) return;
    const target = data.colourings[colour.value];
    dots.forEach((dot, i) => {
      const [name, shape] = look(target, target.codes[i]);
      dot.setAttribute("class", i === current ? name + " on" : name);
      dot.setAttribute("d", shape);
    });
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

  function tell(i) {
    if (i === current || i < 0) return;
    if (current >= 0) dots[current].classList.remove("on");
    current = i;
    dots[i].classList.add("on");
    const pictures = element("div");
    data.sprites.forEach((sprite, number) => {
      if (!sprite.there[i]) return;
      const picture = element("span", undefined, "pic s" + number);
      picture.style.cssText = `--x:${i % sprite.across};--y:${Math.floor(i / sprite.across)};--side:112px`;
      picture.setAttribute("role", "img");
      picture.setAttribute("aria-label", `${sprite.modality} of ${data.names[i]}`);
      pictures.append(picture);
    });
    const list = element("dl");
    data.keys.forEach((key, k) => list.append(element("dt", key), element("dd", data.values[i][k])));
    panel.replaceChildren(element("b", data.names[i]), pictures, list);
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
    if (current < 0 || !places[current]) return tell(nearest(WIDE / 2, HIGH / 2, 1e4));
    const [x, y] = places[current];
    let best = -1, least = 1e9;
    places.forEach((p, i) => {
      if (!p || i === current) return;
      const along = (p[0] - x) * dx + (p[1] - y) * dy, aside = Math.abs((p[0] - x) * dy) + Math.abs((p[1] - y) * dx);
      const cost = along + 2 * aside;
      if (along > 0 && cost < least) [best, least] = [i, cost];
    });
    tell(best);
  }

  const point = event => {
    const box = map.getBoundingClientRect();
    const x = (event.clientX - box.left) * WIDE / box.width, y = (event.clientY - box.top) * HIGH / box.height;
    tell(nearest(x, y, 14));
  };
  map.addEventListener("pointermove", point);
  map.addEventListener("pointerdown", point);
  map.addEventListener("keydown", event => {
    const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
    if (!step) return;
    event.preventDefault();
    walk(...step);
  });
  document.querySelectorAll("input[name=by],input[name=how]").forEach(input => input.addEventListener("change", lay));
  if (colour) colour.addEventListener("change", paint);
  document.querySelectorAll(".controls").forEach(form => form.addEventListener("submit", event => event.preventDefault()));
  lay();
  paint();
})();
