// What this page thinks of a text, in the words of ROOM.md.
import { judge, type Classifier, type Threshold } from "@palisade/moderation";
import type { Judgement } from "./protocol";

/** Judges one text by a room's policy. */
export async function judgementOf(classifier: Classifier, text: string, policy: Threshold[], signal?: AbortSignal): Promise<Judgement> {
  const { labels, results, release } = await classifier.classify([text], signal ? { signal } : {});
  const scores = results[0]?.scores ?? new Float32Array();
  const short = (score: number): number => Number(score.toPrecision(9));
  return { ...judge(labels, scores, policy), scores: Object.fromEntries(labels.map((label, i) => [label, short(scores[i] ?? 0)])), release };
}
