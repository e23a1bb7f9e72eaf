//! The LeNet in libtorch with libtorch's own dropout, as one would write it in Python.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use device::onnx::Model;
use prost::Message as _;
use tch::{Device, Tensor};
use tract_onnx::pb::ModelProto;

use crate::lenet::{Architecture, Parameter, SIDE, SITE_NAMES, SITES, tensor};
use crate::torch;

/// The network, on the processor.
pub(super) struct Libtorch {
    parameters: Vec<Tensor>,
    /// Probability of dropping, per site.
    dropout: [f64; SITES],
    classes: usize,
}

impl Libtorch {
    /// Takes the weights of the LeNet in the file at `path`, which `model` was read from: those
    /// that the other engines run.
    pub(super) fn open(path: &Path, model: &Model, threads: usize) -> anyhow::Result<Self> {
        torch::set_threads(Some(threads))?;
        let ratio = |name: &&str| {
            let site = model.sites().iter().find(|site| site.name == *name);
            site.map_or(0.0, |site| f64::from(site.ratio))
        };
        Ok(Self {
            parameters: parameters(path, model.classes())?,
            dropout: SITE_NAMES.each_ref().map(ratio),
            classes: model.classes(),
        })
    }

    /// One forward pass of the frame, repeated to a batch of as many passes as `logits` has rows.
    pub(super) fn run_batched(&self, input: &[f32], logits: &mut [f32]) -> anyhow::Result<()> {
        let _no_grad = tch::no_grad_guard();
        let passes = (logits.len() / self.classes) as i64;
        let output = self.forward(&image(input)?.f_expand([passes, -1, -1, -1], false)?)?;
        Ok(output.f_copy_data(logits, logits.len())?)
    }

    /// One forward pass of the frame alone for every row of `logits`.
    pub(super) fn run_in_a_loop(&self, input: &[f32], logits: &mut [f32]) -> anyhow::Result<()> {
        let _no_grad = tch::no_grad_guard();
        let image = image(input)?;
        for row in logits.chunks_exact_mut(self.classes) {
            self.forward(&image)?.f_copy_data(row, self.classes)?;
        }
        Ok(())
    }

    fn forward(&self, images: &Tensor) -> anyhow::Result<Tensor> {
        let [conv1, bias1, conv2, bias2, fc1, bias3, fc2, bias4] = &self.parameters[..] else {
            bail!("a LeNet has 8 parameters");
        };
        let pool = |x: &Tensor| x.f_max_pool2d(2, 2, 0, 1, false)?.f_relu();
        let x = images.f_conv2d(conv1, Some(bias1), 1, 0, 1, 1)?;
        let x = pool(&x.f_dropout(self.dropout[0], true)?)?;
        let x = x.f_conv2d(conv2, Some(bias2), 1, 0, 1, 1)?;
        let x = pool(&x.f_dropout(self.dropout[1], true)?)?;
        let x = x.f_flatten(1, -1)?.f_linear(fc1, Some(bias3))?.f_relu()?;
        let x = x.f_dropout(self.dropout[2], true)?;
        Ok(x.f_linear(fc2, Some(bias4))?)
    }
}

fn image(input: &[f32]) -> anyhow::Result<Tensor> {
    let side = SIDE as i64;
    Ok(Tensor::f_from_slice(input)?.f_view([1, 1, side, side])?)
}

/// The weights by PyTorch's names, of any width.
fn parameters(path: &Path, classes: usize) -> anyhow::Result<Vec<Tensor>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let graph = ModelProto::decode(&bytes[..])?.graph.unwrap_or_default();
    let architecture = Architecture {
        classes,
        dropout: [0.0; SITES],
    };
    let named = architecture.parameters().into_iter().map(|(name, _)| {
        let found = graph.initializer.iter().find(|tensor| tensor.name == name);
        let found = found.with_context(|| {
            format!("libtorch runs the LeNet of host train alone, and the model has no {name}")
        })?;
        let (values, _) = found.raw_data.as_chunks::<4>();
        let parameter = Parameter {
            name: name.into(),
            shape: found.dims.iter().map(|&size| size as usize).collect(),
            values: values
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect(),
        };
        Ok(tensor(&parameter, Device::Cpu)?)
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lenet::{Network, tests::example};

    #[test]
    fn without_dropout_it_is_the_network_that_was_trained() {
        let model = example([0.0; SITES]);
        let input: Vec<f32> = (0..784).map(|i| (i % 29) as f32 / 10.0 - 0.4).collect();
        let network = Network::from_parameters(model.architecture, &model.parameters, Device::Cpu);
        let network = network.expect("the parameters fit");
        let images = image(&input).expect("an image");
        let expected = network.head(&network.stem(&images), None);
        let mut logits = [0.0; 10];
        expected.copy_data(&mut logits, 10);

        let parameters = model.parameters.iter();
        let plain = Libtorch {
            parameters: parameters
                .map(|parameter| tensor(parameter, Device::Cpu).expect("a tensor"))
                .collect(),
            dropout: [0.0; SITES],
            classes: 10,
        };
        let (mut batched, mut looped) = ([0.0; 30], [0.0; 30]);
        plain.run_batched(&input, &mut batched).expect("runs");
        plain.run_in_a_loop(&input, &mut looped).expect("runs");
        for row in batched.chunks(10).chain(looped.chunks(10)) {
            for (found, expected) in row.iter().zip(logits) {
                assert!((found - expected).abs() < 1e-5, "{found}, not {expected}");
            }
        }
    }
}
