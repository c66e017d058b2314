// What a page can do beyond reading: colours, copying, zooming, and where one is. Without it nothing is missing but these.
"use strict";
(() => {
  const button = (text, label, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.setAttribute("aria-label", label);
    made.title = label;
    made.addEventListener("click", () => act(made));
    return made;
  };

  // Colours: as the system says, or as chosen here.
  const themes = ["light dark", "light", "dark"], names = ["◐ Auto", "○ Light", "● Dark"];
  let theme = 0;
  const paint = (made) => {
    document.documentElement.style.colorScheme = themes[theme];
    made.textContent = names[theme];
  };
  const contents = document.querySelector(".contents");
  if (contents) {
    const toggle = button(names[0], "Colours: automatic, light or dark", (made) => {
      theme = (theme + 1) % themes.length;
      try { localStorage.setItem("archscout-theme", theme); } catch { /* a page from a file may keep nothing */ }
      paint(made);
    });
    try { theme = Number(localStorage.getItem("archscout-theme")) % themes.length || 0; } catch { /* then as the system says */ }
    contents.append(toggle);
    if (theme) paint(toggle);
  }

  // Commands can be copied.
  for (const place of document.querySelectorAll(".command")) {
    const text = place.querySelector("pre");
    place.append(button("Copy", "Copy this command", async (made) => {
      try {
        await navigator.clipboard.writeText(text.textContent);
      } catch {
        getSelection().selectAllChildren(text);
        document.execCommand("copy");
      }
      made.textContent = "Copied";
      setTimeout(() => { made.textContent = "Copy"; }, 1500);
    }));
  }

  // Drawings can be zoomed and moved: buttons, keys, a wheel with Ctrl, and dragging.
  for (const figure of document.querySelectorAll(".zoom")) {
    const canvas = figure.querySelector(".canvas"), svg = canvas.querySelector("svg");
    const [left, top, wide, high] = svg.getAttribute("viewBox").split(" ").map(Number);
    let x = left, y = top, scale = 1;
    const show = () => {
      const w = wide / scale, h = high / scale;
      x = Math.min(Math.max(x, left), left + wide - w);
      y = Math.min(Math.max(y, top), top + high - h);
      svg.setAttribute("viewBox", `${x} ${y} ${w} ${h}`);
      canvas.classList.toggle("moved", scale > 1);
    };
    // (fx, fy): the part of the view, 0..1, that stays where it is.
    const zoom = (factor, fx = 0.5, fy = 0.5) => {
      const next = Math.min(Math.max(scale * factor, 1), 12);
      x += fx * (wide / scale - wide / next);
      y += fy * (high / scale - high / next);
      scale = next;
      show();
    };
    const move = (dx, dy) => { x += dx * wide / scale; y += dy * high / scale; show(); };
    const reset = () => { scale = 1; x = left; y = top; show(); };
    const keys = {
      "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), "0": reset,
      ArrowLeft: () => move(-0.1, 0), ArrowRight: () => move(0.1, 0), ArrowUp: () => move(0, -0.1), ArrowDown: () => move(0, 0.1),
    };
    canvas.addEventListener("keydown", (event) => {
      const act = keys[event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey || (scale === 1 && event.key.startsWith("Arrow"))) return;
      event.preventDefault();
      act();
    });
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const box = svg.getBoundingClientRect();
      zoom(Math.exp(-event.deltaY / 300), (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => { if (scale > 1) canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", (event) => {
      if (!canvas.hasPointerCapture(event.pointerId)) return;
      const box = svg.getBoundingClientRect();
      move(-event.movementX / box.width, -event.movementY / box.height);
    });
    canvas.classList.add("live");
    const tools = document.createElement("div"), hint = document.createElement("small");
    tools.className = "tools";
    hint.textContent = canvas.title = "keys + − 0 and arrows, or Ctrl and the wheel";
    tools.append(
      button("+", "Zoom in", () => zoom(1.5)), button("−", "Zoom out", () => zoom(1 / 1.5)), button("Reset", "Show all", reset),
    );
    if (figure === document.querySelector(".zoom")) tools.append(hint);
    canvas.before(tools);
  }

  // The contents say where one is.
  const links = new Map([...document.querySelectorAll(".contents a")].map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  for (const section of document.querySelectorAll("section[id]")) seen.observe(section);
})();
