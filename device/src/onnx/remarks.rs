//! What was made of a model file to run it, in words.

use super::{ElementType, Layout, Model, OutputKind};

impl Model {
    /// What of the file's own input and output differs from what engines are given and yield, one
    /// sentence each; none for a model on floats, channels first, that puts out logits.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.layout() == Layout::ChannelsLast {
            remarks.push(format!("the input is {}", self.layout()));
        }
        if self.element_type() != ElementType::Float {
            remarks.push(format!("the input's elements are {}", self.element_type()));
        }
        if let Some(scale) = self.input_scale() {
            let each = scale.iter().map(|n| {
                let (mean, deviation) = (n.mean, n.standard_deviation);
                format!("minus {mean}, divided by {deviation}")
            });
            let each: Vec<String> = each.collect();
            remarks.push(format!(
                "the model normalises its input: {}",
                each.join("; ")
            ));
        }
        let how = match self.output_kind() {
            OutputKind::Logits => return remarks,
            OutputKind::Probabilities => "they become logits that mean the same",
            OutputKind::LogProbabilities => "they are taken as logits",
            OutputKind::BinaryLogit | OutputKind::BinaryProbability => {
                "it becomes the logits of two classes"
            }
        };
        remarks.push(format!("the output is {}: {how}", self.output_kind()));
        remarks
    }
}
