"use strict";
const data = window.COHORT, perPage = 60, $ = id => document.getElementById(id);
let chosen = data.rows.map((row, i) => i), page = 0, open = 0;
const kindWords = { dicom: "Download DICOM", png: "Download PNG", classes: "Download PNG", nifti: "Download NIfTI", parquet: "Parquet file with many images" };
const words = name => name.replaceAll("_", " ");

function addFilters() {
  const form = $("filters");
  for (const filter of data.filters) {
    const label = document.createElement("label"), select = document.createElement("select");
    label.textContent = words(filter.name);
    select.name = filter.name;
    select.append(new Option("all", ""));
    filter.values.forEach((value, i) => select.append(new Option(String(value), String(i))));
    label.append(select);
    form.append(label);
  }
  const label = document.createElement("label"), search = document.createElement("input");
  label.textContent = "name or caption contains";
  search.type = "search";
  search.name = "\u0000text";
  label.append(search);
  form.append(label);
  form.addEventListener("input", filterRows);
  form.addEventListener("submit", event => event.preventDefault());
}

function filterRows() {
  const wanted = [];
  for (const filter of data.filters) {
    const at = $("filters").elements[filter.name].value;
    if (at !== "") wanted.push([filter.name, filter.values[Number(at)]]);
  }
  const text = $("filters").elements["\u0000text"].value.trim().toLowerCase();
  chosen = [];
  data.rows.forEach((row, i) => {
    const said = (row.id + " " + (row.facts.caption || "")).toLowerCase();
    if (wanted.every(([name, value]) => row.facts[name] === value) && said.includes(text)) chosen.push(i);
  });
  page = 0;
  show();
}

function show() {
  const start = page * perPage, part = chosen.slice(start, start + perPage), list = $("images");
  $("count").textContent = `${chosen.length.toLocaleString("en")} of ${data.rows.length.toLocaleString("en")} images`;
  $("place").textContent = chosen.length ? `${start + 1} to ${start + part.length}` : "nothing matches";
  $("before").disabled = page === 0;
  $("after").disabled = start + perPage >= chosen.length;
  $("save").disabled = !chosen.length;
  list.replaceChildren(...part.map((index, i) => tile(index, start + i)));
}

function tile(index, position) {
  const row = data.rows[index], item = document.createElement("li"), button = document.createElement("button");
  const thumb = document.createElement("span"), name = document.createElement("span"), what = document.createElement("span");
  const inSheet = index % data.perSheet, x = inSheet % data.across, y = Math.floor(inSheet / data.across);
  thumb.className = "thumb";
  thumb.style.backgroundImage = `url("site/thumbs/${String(Math.floor(index / data.perSheet)).padStart(4, "0")}.png")`;
  thumb.style.backgroundPosition = `-${x * data.tile}px -${y * data.tile}px`;
  name.textContent = row.id;
  what.className = "what";
  what.textContent = data.filters.slice(0, 2).filter(f => f.name in row.facts).map(f => `${words(f.name)} ${row.facts[f.name]}`).join(", ");
  button.type = "button";
  button.append(thumb, name, what);
  button.addEventListener("click", () => look(position));
  item.append(button);
  return item;
}

function look(position) {
  open = position;
  const row = data.rows[chosen[position]], facts = $("look-facts"), files = $("look-files");
  $("look-title").textContent = `${row.id} (synthetic)`;
  $("look-image").src = row.look;
  $("look-image").alt = `Synthetic image ${row.id}: ${Object.entries(row.facts).slice(0, 4).map(([k, v]) => `${words(k)} ${v}`).join(", ")}`;
  facts.replaceChildren();
  for (const [name, value] of Object.entries(row.facts)) {
    const term = document.createElement("dt"), text = document.createElement("dd");
    term.textContent = words(name);
    text.textContent = name === "pixels_digest" ? String(value).slice(0, 24) + "…" : String(value);
    facts.append(term, text);
  }
  files.replaceChildren();
  for (const [kind, path] of Object.entries(row.files)) {
    const link = document.createElement("a");
    link.href = path;
    link.download = path.split("/").pop();
    link.textContent = kindWords[kind] || kind;
    files.append(link);
  }
  $("prev").disabled = position === 0;
  $("next").disabled = position + 1 >= chosen.length;
  if (!$("look").open) $("look").showModal();
  remember("#" + row.id);
}

function remember(hash) {
  try { history.replaceState(null, "", hash || location.pathname); } catch { /* some browsers forbid it for files */ }
}

function adjust() {
  $("look-image").style.filter = `brightness(${$("bright").value}%) contrast(${$("contrast").value}%)`;
}

function save() {
  const quote = text => `"${String(text ?? "").replaceAll('"', '""')}"`;
  const kinds = Object.keys(data.rows[0].files), lines = [["image_id", ...kinds, ...data.filters.map(f => f.name)].map(quote).join(",")];
  for (const i of chosen) {
    const row = data.rows[i];
    lines.push([row.id, ...kinds.map(k => row.files[k]), ...data.filters.map(f => row.facts[f.name])].map(quote).join(","));
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
  link.download = "selection.csv";
  link.click();
  URL.revokeObjectURL(link.href);
}

addFilters();
show();
$("before").addEventListener("click", () => { page--; show(); $("images").focus(); });
$("after").addEventListener("click", () => { page++; show(); $("images").focus(); });
$("save").addEventListener("click", save);
$("close").addEventListener("click", () => $("look").close());
$("look").addEventListener("close", () => remember(""));
$("prev").addEventListener("click", () => look(open - 1));
$("next").addEventListener("click", () => look(open + 1));
$("pixels").addEventListener("change", () => $("look-image").classList.toggle("pixelated", $("pixels").checked));
$("bright").addEventListener("input", adjust);
$("contrast").addEventListener("input", adjust);
$("look").addEventListener("keydown", event => {
  if (event.target.type === "range") return;
  if (event.key === "ArrowLeft" && open > 0) look(open - 1);
  if (event.key === "ArrowRight" && open + 1 < chosen.length) look(open + 1);
});
const named = data.rows.findIndex(row => "#" + row.id === location.hash);
if (named >= 0) look(named);
