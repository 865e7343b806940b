// What both entries export beside `load`.
export type { Classification, Description, Label, Limits, Release, Span, TextResult, Word } from "./contract/interface.js";
export { ModerationError, type Problem, type ProblemCode } from "./errors.js";
export { judge, type Fired, type Judgement, type Threshold, type Verdict } from "./judge.js";
export { toUtf16 } from "./offsets.js";
export type { Classified, Classifier, ClassifyOptions, Loading, LoadOptions, Progress } from "./types.js";
