//! The network in libtorch.

use std::ops::Range;

use shared::mask::{KeepProbability, MaskSource};
use tch::{Device, Kind, TchError, Tensor};

use super::{Architecture, Parameter, SITE_SHAPES, SITES, site_elements};

/// Keep masks for a batch, already multiplied by 1/q: per site `[batch, …site shape]`. `None`
/// where everything is kept.
#[derive(Debug)]
pub struct Masks([Option<Tensor>; SITES]);

impl Masks {
    /// The masks of `frame` for `passes`, one pass per sample of the batch.
    #[must_use]
    pub fn draw(
        source: &MaskSource,
        frame: u32,
        passes: Range<u32>,
        keep: [KeepProbability; SITES],
        device: Device,
    ) -> Self {
        // Sites are numbered as in an exported model, where one that keeps everything is gone.
        let mut live = 0;
        Self(std::array::from_fn(|index| {
            let q = keep[index];
            (q != KeepProbability::ONE).then(|| {
                let elements = site_elements(index);
                let mut values = vec![0.0; passes.len() * elements];
                source.fill(frame, live, q, passes.clone(), elements, &mut values);
                live += 1;
                let shape: Vec<i64> = std::iter::once(passes.len())
                    .chain(SITE_SHAPES[index].iter().copied())
                    .map(|size| size as i64)
                    .collect();
                let mut mask = Tensor::from_slice(&values)
                    .view(&shape[..])
                    .to_device(device);
                mask *= 1.0 / q.value();
                mask
            })
        }))
    }

    fn apply(&self, site: usize, input: Tensor) -> Tensor {
        match &self.0[site] {
            Some(mask) => input * mask,
            None => input,
        }
    }
}

/// The parameters on a device.
#[derive(Debug)]
pub struct Network {
    architecture: Architecture,
    parameters: [Tensor; 8],
}

impl Network {
    /// Fresh parameters, drawn by libtorch as PyTorch's layers draw theirs: uniform in
    /// ±1/√(inputs of a unit).
    #[must_use]
    pub fn new(architecture: Architecture, device: Device) -> Self {
        let mut bound = 0.0;
        let parameters = architecture.parameters().map(|(_, shape)| {
            // A weight sets the bound; the bias after it has the same one.
            if shape.len() > 1 {
                bound = 1.0 / (shape[1..].iter().product::<usize>() as f64).sqrt();
            }
            let shape: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
            // On the processor first, so that every device starts from the same numbers.
            let values = Tensor::rand(&shape[..], (Kind::Float, Device::Cpu));
            ((values * 2.0 - 1.0) * bound)
                .to_device(device)
                .set_requires_grad(true)
        });
        Self {
            architecture,
            parameters,
        }
    }

    /// Given parameters, in the order of [`Architecture::parameters`].
    ///
    /// # Errors
    /// They are not eight, or libtorch cannot place them on the device.
    pub fn from_parameters(
        architecture: Architecture,
        parameters: &[Parameter],
        device: Device,
    ) -> Result<Self, TchError> {
        let parameters = parameters
            .iter()
            .map(|parameter| Ok(tensor(parameter, device)?.set_requires_grad(true)))
            .collect::<Result<Vec<_>, TchError>>()?;
        let count = parameters.len();
        let parameters = parameters
            .try_into()
            .map_err(|_| TchError::Shape(format!("{count} parameters, a LeNet has 8")))?;
        Ok(Self {
            architecture,
            parameters,
        })
    }

    /// The same network for another thread; the parameters are not copied.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            architecture: self.architecture,
            parameters: self.parameters.each_ref().map(Tensor::shallow_clone),
        }
    }

    /// The same architecture with other parameters, in the order of [`Architecture::parameters`];
    /// they are not copied.
    ///
    /// # Panics
    /// They are not eight.
    #[must_use]
    pub fn with(&self, parameters: &[Tensor]) -> Self {
        assert_eq!(parameters.len(), 8, "a LeNet has 8 parameters");
        Self {
            architecture: self.architecture,
            parameters: std::array::from_fn(|index| parameters[index].shallow_clone()),
        }
    }

    /// The parameters as tensors, in the order of [`Architecture::parameters`].
    pub fn tensors(&self) -> &[Tensor] {
        &self.parameters
    }

    /// The shape of the network.
    #[must_use]
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// A copy of the parameters in memory.
    ///
    /// # Errors
    /// libtorch cannot copy them.
    pub fn parameters(&self) -> Result<Vec<Parameter>, TchError> {
        let names = self.architecture.parameters();
        names
            .iter()
            .zip(&self.parameters)
            .map(|((name, _), value)| parameter(name, value))
            .collect()
    }

    /// What does not depend on the pass: conv1, `[batch, 1, 28, 28]` → `[batch, 10, 24, 24]`.
    pub fn stem(&self, images: &Tensor) -> Tensor {
        images.conv2d(&self.parameters[0], Some(&self.parameters[1]), 1, 0, 1, 1)
    }

    /// The rest: the stem's output, `[batch, 10, 24, 24]` or `[1, 10, 24, 24]` for every pass, →
    /// logits `[batch, classes]`. Without masks no dropout is applied.
    pub fn head(&self, stem: &Tensor, masks: Option<&Masks>) -> Tensor {
        let dropout = |site, input| match masks {
            Some(masks) => masks.apply(site, input),
            None => input,
        };
        let [_, _, conv2, conv2_bias, fc1, fc1_bias, fc2, fc2_bias] = &self.parameters;
        let pool = |input: Tensor| input.max_pool2d(2, 2, 0, 1, false).relu();
        let x = pool(dropout(0, stem.shallow_clone()));
        let x = pool(dropout(1, x.conv2d(conv2, Some(conv2_bias), 1, 0, 1, 1)));
        let x = dropout(2, x.view([-1, 320]).linear(fc1, Some(fc1_bias)).relu());
        x.linear(fc2, Some(fc2_bias))
    }

    /// Passes with the given masks over one stem's output `[1, 10, 24, 24]`, or one without
    /// dropout; writes their logits, `[pass][class]`.
    ///
    /// # Errors
    /// libtorch cannot copy the logits, or `logits` has not room for them.
    pub fn sample(
        &self,
        stem: &Tensor,
        masks: Option<&Masks>,
        logits: &mut [f32],
    ) -> Result<(), TchError> {
        let output = self.head(stem, masks);
        output
            .f_to_device(Device::Cpu)?
            .f_copy_data(logits, output.numel())
    }
}

/// A named array as a tensor.
pub(crate) fn tensor(parameter: &Parameter, device: Device) -> Result<Tensor, TchError> {
    let shape: Vec<i64> = parameter.shape.iter().map(|&size| size as i64).collect();
    Tensor::f_from_slice(&parameter.values)?
        .f_view(&shape[..])?
        .f_to_device(device)
}

/// A tensor as a named array.
pub(crate) fn parameter(name: &str, value: &Tensor) -> Result<Parameter, TchError> {
    let mut values = vec![0.0; value.numel()];
    value
        .f_to_device(Device::Cpu)?
        .f_contiguous()?
        .f_copy_data(&mut values, value.numel())?;
    Ok(Parameter {
        name: name.into(),
        shape: value.size().iter().map(|&size| size as usize).collect(),
        values,
    })
}
