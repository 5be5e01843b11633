for (const task of document.querySelectorAll("details.task")) {
  const search = task.querySelector("input[type=search]");
  if (!search) continue;
  const boxes = [...task.querySelectorAll("input[type=checkbox]")];
  const samples = [...task.querySelectorAll(".sample")];
  const texts = samples.map(sample => sample.textContent.toLowerCase());
  const count = task.querySelector("output");
  const filter = () => {
    const wanted = new Set(boxes.filter(box => box.checked).map(box => box.value));
    const words = search.value.toLowerCase().split(/\s+/).filter(word => word);
    let shown = 0;
    samples.forEach((sample, place) => {
      const fits = wanted.has(sample.dataset.outcome) && words.every(word => texts[place].includes(word));
      sample.hidden = !fits;
      shown += fits;
    });
    count.textContent = `${shown} shown`;
  };
  search.addEventListener("input", filter);
  boxes.forEach(box => box.addEventListener("change", filter));
}
