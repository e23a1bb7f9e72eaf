//! Dropout as sampling from an approximate posterior, made visible.

use maud::{Markup, html};

use super::data::epistemic;
use super::passes::{precision, variational};
use super::rotation::rotation;
use crate::report::Studies;

pub(super) fn section(studies: &Studies) -> anyhow::Result<Markup> {
    Ok(html! {
        p {
            "What the passes of Monte-Carlo dropout are, and what they are worth."
        }
        (rotation(&studies.rotation)?)
        h3 { "Passes and data" }
        div.figures {
            (precision(&studies.precision)?)
            @match &studies.epistemic {
                Some(found) => (epistemic(found)?),
                None => p.note {
                    "How uncertainty falls with more training data, and what a digit never seen in training "
                    "does to it, takes training several models: run " code { "host study epistemic --out DIR" }
                    ", then this report with " code { "--study DIR/study.json" } "."
                },
            }
        }
        @match &studies.variational {
            Some(found) => (variational(found)),
            None => p.note {
                "The variational objective takes the weights that " code { "host train" } " leaves beside the "
                "model, and its training images; they were not there."
            },
        }
    })
}
