import { load } from "@palisade/moderation";

const classifier = await load({ artefact: `/${document.documentElement.dataset.sha256}.wasm` });
const { release, labels, results } = await classifier.classify(["You are an idiot."]);
document.title = `${release.name} ${labels[2]} ${results[0].scores[2].toFixed(6)}`;
