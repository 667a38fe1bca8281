// The page: a picture goes to POST restore, and stands beside what comes back.
const at = (id) => document.getElementById(id);
const TALLEST = 0.64; // of the window: the picture's height

let limits = null;
let running = null; // AbortController of the request under way
let addresses = []; // blob: addresses of the pictures shown
let chosen = null; // the file that was restored last, or is now

const percent = (share) => (100 * share).toLocaleString("en", { maximumSignificantDigits: 3 }) + " %";
const capitalised = (text) => text.charAt(0).toUpperCase() + text.slice(1);

async function introduce() {
  const [ticket, most] = await Promise.all(["ticket", "limits"].map(async (name) => (await fetch(name)).json()));
  limits = most;
  at("limits").textContent = `PNG, JPEG or WebP, up to ${+(most.bytes / 2 ** 20).toPrecision(3)} MB and ${+(most.pixels / 1e6).toPrecision(3)} million pixels`;
  at("ticket").textContent = `Ticket ${ticket.name}: ${percent(ticket.density.prunable)} of the weights of ${ticket.network.name}`;
  at("ticket").title = `sha256 ${ticket.sha256}`;
  offer(ticket.routing);
}

// What a ticket has to be told, or lets somebody choose: the task, or how much of the work to do.
function offer({ tasks, levels, work }) {
  if (tasks) at("task").replaceChildren(...Object.keys(tasks).map((task) => new Option(task)));
  if (levels) {
    Object.assign(at("share"), { min: (Math.ceil(100 * Math.min(...Object.values(levels))) / 100).toFixed(2), max: "1" });
    at("share").value = work ?? 1;
    sayShare();
  }
  at("for-task").hidden = !tasks;
  at("for-share").hidden = !levels;
  at("wishes").hidden = !tasks && !levels;
}

function sayShare() {
  at("share-said").value = `${Math.round(100 * at("share").value)} %`;
}

function wishes() {
  const found = new URLSearchParams();
  if (!at("for-task").hidden) found.set("task", at("task").value);
  if (!at("for-share").hidden) found.set("work", at("share").value);
  return found.size ? `?${found}` : "";
}

function unfit(file) {
  if (file.type && !file.type.startsWith("image/")) return `${file.name} is not a picture; PNG, JPEG and WebP can be restored`;
  if (!file.size) return `${file.name} is empty`;
  if (limits && file.size > limits.bytes) return `${file.name} has ${(file.size / 2 ** 20).toFixed(1)} MB, ${+(limits.bytes / 2 ** 20).toPrecision(3)} MB at most can be restored`;
  return null;
}

function fail(reason, retry) {
  at("reason").textContent = reason + ".";
  at("error").hidden = false;
  at("again").hidden = !retry;
  at("again").onclick = retry;
}

function show(image, blob) {
  image.src = URL.createObjectURL(blob);
  addresses.push(image.src);
  return image.decode();
}

function clear() {
  running?.abort();
  running = null;
  addresses.forEach((address) => URL.revokeObjectURL(address));
  addresses = [];
  for (const id of ["error", "work", "after", "tag-after", "slider", "download"]) at(id).hidden = true;
  at("stage").classList.remove("both");
  at("stage").style.removeProperty("--at");
  at("file").value = "";
  document.body.classList.remove("has-picture");
}

function fit() {
  const { naturalWidth: width, naturalHeight: height } = at("before");
  at("stage").style.aspectRatio = `${width} / ${height}`;
  at("stage").style.setProperty("--most", `${Math.round((innerHeight * TALLEST * width) / height)}px`);
}

function busy(control) {
  const begun = performance.now();
  const tick = () => { at("clock").textContent = `${Math.floor((performance.now() - begun) / 1000)} s`; };
  const clock = setInterval(tick, 1000);
  const set = (on) => { at("stage").classList.toggle("busy", on); at("progress").hidden = at("cancel").hidden = at("clock").hidden = !on; };
  at("status").textContent = "Restoring…"; // read aloud once; the clock is not
  at("cancel").onclick = () => control.abort();
  tick();
  set(true);
  return () => { clearInterval(clock); if (running === control || running === null) set(false); };
}

async function restore(file) {
  clear();
  chosen = null;
  const reason = unfit(file);
  if (reason) return fail(reason);
  chosen = file;
  const control = (running = new AbortController());
  try {
    await show(at("before"), file);
  } catch {
    return fail(`${file.name} cannot be shown: it is broken, or of a format this browser does not know`);
  }
  if (control.signal.aborted) return;
  fit();
  at("work").hidden = false;
  document.body.classList.add("has-picture");
  const done = busy(control);
  try {
    await compare(file, control.signal);
  } catch (error) {
    if (running === control) at("status").textContent = control.signal.aborted ? "Cancelled." : "Not restored.";
    if (!control.signal.aborted) fail(capitalised(error.said ?? "the server cannot be reached"), error.final ? null : () => restore(file));
  } finally {
    done();
  }
}

async function compare(file, signal) {
  const headers = { "Content-Type": file.type || "application/octet-stream" };
  const answer = await fetch(`restore${wishes()}`, { method: "POST", body: file, headers, signal });
  if (!answer.ok) {
    const said = await answer.json().then((body) => body.error, () => `the server answers ${answer.status}`);
    throw { said, final: answer.status < 500 };
  }
  const blob = await answer.blob();
  await show(at("after"), blob);
  if (signal.aborted) return;
  const { naturalWidth: width, naturalHeight: height } = at("after");
  const [seconds, density] = ["Seconds", "Density"].map((name) => Number(answer.headers.get(`X-Mirl-${name}`)));
  const ticket = decodeURIComponent(answer.headers.get("X-Mirl-Ticket"));
  at("status").textContent = `Restored in ${+seconds.toPrecision(2)} s: ${width} × ${height} pixels, with the ticket ${ticket} at ${percent(density)} density`;
  for (const id of ["after", "tag-after", "slider", "download"]) at(id).hidden = false;
  at("stage").classList.add("both");
  at("download").href = at("after").src;
  at("download").download = `${file.name.replace(/\.[^.]*$/, "") || "picture"}-restored.${blob.type.split("/")[1].replace("jpeg", "jpg")}`;
  at("slider").value = 50;
  slide();
}

function slide() {
  const value = Number(at("slider").value);
  at("stage").style.setProperty("--at", `${value}%`);
  at("slider").setAttribute("aria-valuetext", `${Math.round(value)} percent before`);
}

at("slider").addEventListener("input", slide);
at("share").addEventListener("input", sayShare);
for (const id of ["task", "share"]) at(id).addEventListener("change", () => chosen && restore(chosen));
at("file").addEventListener("change", (event) => event.target.files[0] && restore(event.target.files[0]));
addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])][0];
  if (file) restore(file);
});
let depth = 0; // dragenter and dragleave come for every element on the way
addEventListener("dragenter", () => document.body.classList.toggle("over", ++depth > 0));
addEventListener("dragleave", () => document.body.classList.toggle("over", --depth > 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  document.body.classList.remove("over");
  const file = event.dataTransfer.files[0];
  if (file) restore(file);
});
addEventListener("resize", () => at("work").hidden || fit());
introduce().catch(() => fail("The server cannot be reached"));
