// What measures, causes and numbers are called on the page. Nothing here touches the document.

/** Causes in the order of precedence: the measure and the limit that they belong to, and their meaning. */
export const CAUSES = {
  'overexposed': ['black', 'max_black', 'Even the darkest parts of the picture are bright.'],
  'occluded': ['plateau', 'max_plateau', 'Even areas of one grey cover much of the picture: something opaque is in front.'],
  'glare': ['saturated', 'max_saturated', 'Much of the picture is saturated while black is still black.'],
  'underexposed': ['white', 'min_white', 'Even the brightest parts of the picture are dark.'],
  'blurred': ['sharpness', 'min_sharpness', 'The steepest edges are soft: the picture is out of focus, or moved.'],
  'low-contrast': ['contrast', 'min_contrast', 'Dark and bright are close together: fog, a smeared lens, or nothing to see.'],
  'unfamiliar': ['mutual_information', 'max_mutual_information', 'The passes disagree: nothing like this was in the training data.'],
  'ambiguous': ['expected_entropy', 'max_expected_entropy', 'The single passes are unsure themselves: the picture allows several answers.'],
  'uncertain': ['predictive_entropy', 'max_predictive_entropy', 'The answer as a whole is uncertain, whatever the reason.'],
};

/** Measures of a frame: field, name, unit, and what it says. */
export const MEASURES = [
  ['predictive_entropy', 'total uncertainty (predictive entropy)', 'nats', 'How unsure the answer is: aleatoric and epistemic parts added up; 0 is certain.'],
  ['expected_entropy', 'aleatoric (expected entropy)', 'nats', 'What the picture itself leaves open: how unsure a single pass is on average.'],
  ['mutual_information', 'epistemic (mutual information)', 'nats', 'What the model does not know: how much the passes disagree.'],
  ['confidence', 'confidence', '', 'Mean probability of the class over all passes.'],
  ['margin', 'margin', '', 'Lead of that probability over the second class.'],
  ['variation_ratio', 'variation ratio', '', 'Share of the passes that voted for another class than most did.'],
  ['standard_deviation', 'standard deviation', '', 'How far the probability of the class scatters over the passes.'],
  ['passes', 'passes', '', 'Stochastic passes that were sampled for this frame.'],
  ['black', 'black level', '', 'Luma of the darkest twentieth of the picture; over-exposure and fog raise it.'],
  ['plateau', 'even areas of one grey', '', 'Share of the picture; something opaque in front raises it.'],
  ['saturated', 'saturated', '', 'Share of the picture that is white out; glare raises it.'],
  ['white', 'white level', '', 'Luma of the brightest fiftieth of the picture; it falls with exposure.'],
  ['sharpness', 'sharpness', '', 'Steepness of the steepest edges; 1 is hard, more is noise.'],
  ['contrast', 'contrast', '', 'Michelson contrast between black and white level; fog lowers it, dimming does not.'],
  ['mean', 'mean luma', '', 'Brightness of the whole picture.'],
];

/** A limit of this size is never crossed (Rust's `f32::MAX`). */
const NEVER = 3.4e38;

const finite = value => typeof value === 'number' && Number.isFinite(value);

/** A number with so many decimals; a dash for what is none. */
export const decimal = (value, places = 3) => finite(value) ? value.toFixed(places) : '–';

/** A count with thin spaces between thousands. */
export const count = value => finite(value) ? String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, '\u202f') : '–';

/** A share in percent; a dash where there is nothing to have a share of. */
export const percent = (part, whole) => finite(part) && whole > 0 ? `${(100 * part / whole).toFixed(1)} %` : '–';

/** Microseconds as milliseconds. */
export const milliseconds = us => finite(us) ? `${(us / 1000).toFixed(us < 10000 ? 2 : 1)} ms` : '–';

/** Bytes per 1024, as a person reads them. */
export const kibibytes = kib => kib > 0 ? `${(kib / 1024).toFixed(1)} MiB` : '–';

/** The device's clock as hours, minutes and seconds. */
export function uptime(us) {
  const seconds = us / 1e6, pad = value => String(Math.floor(value)).padStart(2, '0');
  return `${Math.floor(seconds / 3600)}:${pad(seconds / 60 % 60)}:${pad(seconds % 60)}`;
}

/** The time of day at which the monitor received something. */
export const clock = at => new Date(at).toLocaleTimeString([], {hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false});

/** The name of a frame's class. */
export const className = frame => frame.label ?? `class ${frame.class}`;

/** The causes of a frame in words. */
export const causeNames = frame => frame.causes.length ? frame.causes.join(', ') : 'accepted';

/** A measure of a frame, of the model's answer or of the picture. */
export const measure = (frame, name) => frame[name] ?? frame.image?.[name];

/** A limit in force, or undefined where there is none. */
export function limit(device, name) {
  const value = device?.thresholds[name];
  return !finite(value) || (name.startsWith('max_') ? value >= NEVER : value <= 0) ? undefined : value;
}

/** A frame in one sentence. */
export const sentence = frame => `Frame ${frame.frame}: ${className(frame)} (confidence ${decimal(frame.confidence, 2)}), `
  + `aleatoric ${decimal(frame.expected_entropy)} + epistemic ${decimal(frame.mutual_information)} = ${decimal(frame.predictive_entropy)} nats, `
  + (frame.causes.length ? `flagged: ${causeNames(frame)}.` : 'accepted.');
