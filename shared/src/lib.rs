//! The ground floor of Monte-Carlo-dropout inference: everything that the machine that trains a
//! model and the device that runs it must agree on, to the bit.
//!
//! # Why dropout at test time
//!
//! A classifier answers every question it is asked. Shown a smudge, a glare or an object it has
//! never met, it still spreads one unit of probability over its classes, and often puts nearly all
//! of it on one. What is missing is a second number: how much of that answer is knowledge.
//!
//! Dropout, kept running when the network is used, gives that number. Gal and Ghahramani (2016)
//! show that a network trained with dropout and weight decay fits a variational approximation
//! `q(ω)` to the posterior over its weights `p(ω | data)`: each unit carries a Bernoulli variable
//! that keeps it or drops it, and one draw of all of them is one draw of a whole network
//! `ω_t ~ q(ω)`. Running the same input through `T` such draws and averaging,
//!
//! ```text
//! p(y | x, data) = ∫ p(y | x, ω) p(ω | data) dω ≈ 1/T Σ_t softmax(logits(x; ω_t))
//! ```
//!
//! is Monte-Carlo integration over networks that all explain the training data. Where they agree
//! the data has settled the matter. Where they differ it has not, and the average alone would
//! hide that.
//!
//! # Two reasons for doubt
//!
//! The entropy `H` of the averaged prediction is the whole uncertainty. It splits exactly in two
//! ([`uncertainty`]; Houlsby et al. 2011, Kendall and Gal 2017, Depeweg et al. 2018):
//!
//! ```text
//! H[ E_ω p(y|x,ω) ]  =  E_ω H[ p(y|x,ω) ]  +  I[ y ; ω | x ]
//!       total               aleatoric             epistemic
//! ```
//!
//! The first part is doubt that every sampled network shares: the input itself is ambiguous (a 4
//! that might be a 9), and no further training data would help. The second is the mutual
//! information between the answer and the network: the networks contradict each other, because
//! nothing like this input was in the training data. A person who reads a flag wants to know
//! which: ambiguous inputs need a second look, unfamiliar ones need a new label or a cleaned lens.
//! [`triage`] therefore turns measures into *causes*, one per threshold, and joins them with plain
//! statistics of the image ([`image`]), because the commonest reasons for an odd answer (glare,
//! darkness, a thumb over the lens) can be named by looking at the pixels.
//!
//! # A mask is a pure function
//!
//! A random-number generator that is *drawn from* has a state, and then the masks of a frame depend
//! on the engine, its batch size, its thread count and on every frame before. Results that cannot
//! be repeated cannot be compared between machines or debugged after the fact. Here ([`mask`])
//! the keep bit of element `e` at dropout site `s` in pass `t` of frame `f` is a function of
//! `(seed, f, t, s, e)` and of nothing else, computed by a counter-based generator (Salmon et al.
//! 2011). Every engine draws the same networks, in any order, and a frame flagged in the field is
//! replayed at a desk by its number.
//!
//! # The same bits everywhere
//!
//! The functions that need a transcendental function take it from `libm`, in `f64`, on every
//! target, so that the same logits give bit-identical measures on a workstation, an Arm board and
//! a microcontroller without a double-precision unit. Verdicts then agree too, and a threshold
//! calibrated on one machine means the same on another. The price is a few hundred software
//! floating-point operations a pass, small beside the pass itself.
//!
//! # The line home
//!
//! A device tells what it saw over a serial line ([`wire`]), which loses bytes, garbles them, and is
//! joined in the middle. The protocol's first rule is that a damaged report is never shown as a
//! real one; the second, that what was lost is counted.
//!
//! # Shape of the crate
//!
//! `no_std`, no allocation, no `unsafe`: the same source runs on both ends. Modules depend on each
//! other downwards only: [`wire`] on [`triage`] on [`uncertainty`] and [`image`]; [`mask`] on
//! nothing.
//!
//! # References
//!
//! - Y. Gal, Z. Ghahramani. *Dropout as a Bayesian Approximation: Representing Model Uncertainty
//!   in Deep Learning.* ICML 2016. Y. Gal. *Uncertainty in Deep Learning.* PhD thesis, 2016.
//! - N. Houlsby, F. Huszár, Z. Ghahramani, M. Lengyel. *Bayesian Active Learning for
//!   Classification and Preference Learning.* arXiv:1112.5745, 2011.
//! - A. Kendall, Y. Gal. *What Uncertainties Do We Need in Bayesian Deep Learning for Computer
//!   Vision?* NeurIPS 2017.
//! - S. Depeweg, J. M. Hernández-Lobato, F. Doshi-Velez, S. Udluft. *Decomposition of Uncertainty
//!   in Bayesian Deep Learning.* ICML 2018 (arXiv:1710.07283, 2017).
//! - J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw. *Parallel Random Numbers: As Easy as 1,
//!   2, 3.* SC 2011.
//! - L. C. Freeman. *Elementary Applied Statistics.* Wiley 1965 (variation ratio).

#![no_std]
#![deny(missing_docs)]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod image;
pub mod mask;
pub mod stopping;
pub mod triage;
pub mod uncertainty;
pub mod wire;
