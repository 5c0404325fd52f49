// Who decided what, when.
import { fill, read, run, time } from "./common.js";

run(async () => fill("audit", (await read("/admin/audit")).map((entry) => [time(entry.at), entry.actor, entry.action, entry.detail]), "Nobody has decided anything yet."));
