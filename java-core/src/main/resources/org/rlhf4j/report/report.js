"use strict";
(() => {
  const MANY = 30;
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();

  // A restless curve gets a running mean on top, and turns faint itself. One that goes its way (a learning rate, a
  // step up and down) would only be blurred.
  const restless = (values) => {
    let way = 0;
    for (let i = 1; i < values.length; i++) way += Math.abs(values[i] - values[i - 1]);
    return values.length >= MANY && way > 4 * (Math.max(...values) - Math.min(...values));
  };

  const smooth = (values) => {
    let sum = 0, weight = 0;
    return values.map((v) => {
      sum = 0.9 * sum + 0.1 * v;
      weight = 0.9 * weight + 0.1;
      return sum / weight;
    });
  };

  const short = (v) => (v == null ? "" : Number(v.toPrecision(4)).toString());

  for (const group of document.querySelectorAll(".charts")) {
    const run = group.dataset.run;
    const data = JSON.parse(document.getElementById("data" + run).textContent);
    for (const figure of group.querySelectorAll("figure")) {
      const [steps, values] = data[figure.dataset.metric];
      const place = figure.querySelector(".chart");
      const noisy = restless(values);
      const columns = noisy ? [steps, values, smooth(values)] : [steps, values];
      const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
      const line = (label, stroke, width) =>
        ({ label, stroke, width, points: { show: values.length < MANY }, value: (u, v) => short(v) });
      const options = {
        width: place.clientWidth || 360,
        height: 160,
        scales: { x: { time: false } },
        cursor: { sync: { key: "run" + run }, drag: { x: true, y: false } },
        axes: [axis, { ...axis, size: 62, values: (u, ticks) => ticks.map(short) }],
        series: [{ label: "step" }].concat(
          noisy
            ? [line("value", colour("--faint"), 1), line("mean", colour("--curve"), 2)]
            : [line("value", colour("--curve"), 2)]),
      };
      const chart = new uPlot(options, columns, place);
      new ResizeObserver(() => chart.setSize({ width: place.clientWidth, height: 160 })).observe(place);
    }
  }
})();
