//! ONNX models whose dropout is live, made ready for sampling.
//!
//! A model arrives as one graph with `Dropout` nodes in it, or with products by random zeros and
//! ones that do the same (PyTorch writes Dropout2d so). Runtimes disagree on what to do with
//! them: onnxruntime's optimiser removes them, tract refuses them, TensorRT and OpenVINO do not
//! know them in training mode. [`Model`] therefore rewrites the graph:
//!
//! - Each live Dropout becomes a scaling by 1/(1 − ratio) and a multiplication with a graph input
//!   `keep_mask.<site>` of zeros and ones, which any runtime can do, and whose masks any engine can
//!   draw alike ([`shared::mask`]).
//! - The graph is cut there. The *stem* does not depend on any mask and runs once a frame; the
//!   *head* runs once a pass, many passes as one batch. The scaling of a site that the stem feeds
//!   lies in the stem.
//! - The input is one picture, channels first, of 32-bit floats: what the file has instead (channels
//!   last, bytes, halves, a fixed batch) is made of these, or falls away with the nodes that undo it. A
//!   normalisation at the head of the graph is taken off it ([`Model::input_scale`]).
//! - The output is logits: a Softmax or LogSoftmax at the end is cut off, other probabilities become
//!   their logarithms, and one score becomes two ([`Model::output_kind`]). Other outputs are dropped.
//! - BatchNormalization uses its running statistics, and a Reshape to a batch of one keeps any
//!   batch.
//!
//! A model without live Dropout is an error ([`OnnxError::Deterministic`]), never a model with
//! certain answers.
//!
//! Files are not trusted: they are checked before anything is computed from them ([`limits`] says what
//! they may ask for), and weights outside the file are read from the model's own folder only.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::ops::RangeInclusive;
use std::path::Path;

use crc::{CRC_32_ISO_HDLC, Crc};
use prost::Message as _;
use shared::image::{Normalisation, Preprocessing};
use tract_onnx::pb::ModelProto;
use tract_onnx::pb::tensor_proto::DataType;

mod adopt;
mod analysis;
mod batch;
mod bernoulli;
mod calibration;
mod dropout;
mod ends;
mod error;
mod external;
mod fields;
mod flatten;
mod front;
mod guard;
mod half;
mod input;
pub mod limits;
mod liveness;
mod logits;
mod metadata;
mod network;
mod options;
mod output;
pub(crate) mod preprocessing;
pub mod proto;
mod remarks;
mod scores;
mod split;
mod standard;
#[cfg(test)]
mod tests;
mod trial;
mod validate;

pub use adopt::Adoption;
pub use calibration::Calibration;
pub use error::OnnxError;
pub use front::compose;
pub use input::{ElementType, Layout};
pub use liveness::{DropoutSite, Idle, IdleDropout, Liveness};
pub use metadata::Metadata;
pub use options::{EndOptions, LoadOptions};
pub use output::OutputKind;
pub use split::LOGITS;
#[cfg(feature = "ort")]
pub(crate) use split::PASSES_DIMENSION;

use crate::engine::InputShape;
pub(crate) use crate::engine::one_line;
use crate::signature::{Kind, SigningKey, Trust};
use analysis::{Facts, Question};
#[cfg(feature = "tract")]
pub(crate) use guard::guarded;
use limits::MAX_FILE;
use network::Network;
pub(crate) use network::fresh;
use scores::Form;
use split::Cut;

/// The ONNX operator sets this library reads.
pub const OPSETS: RangeInclusive<i64> = 7..=24;

/// A model cut into stem and head, with what the file tells about itself.
#[derive(Debug, Clone)]
pub struct Model {
    sites: Vec<DropoutSite>,
    idle: Vec<IdleDropout>,
    classes: usize,
    about: About,
    output: OutputKind,
    stem: ModelProto,
    head: ModelProto,
    whole: ModelProto,
}

/// What is known of a model before it is cut.
#[derive(Debug, Clone)]
struct About {
    input: InputShape,
    layout: Layout,
    element: ElementType,
    /// With which the file's graph began.
    scale: Option<Vec<Normalisation>>,
    opset: i64,
    ir_version: i64,
    crc32: u32,
    metadata: Metadata,
}

impl Model {
    /// Reads a model file, and the weights beside it if it keeps them in a file of their own.
    ///
    /// # Errors
    ///
    /// [`OnnxError::InFile`], which says what is wrong with the file.
    pub fn load(path: &Path) -> Result<Self, OnnxError> {
        Self::load_trusted(path, &Trust::default())
    }

    /// As [`Model::load`], of a file that has to be signed with one of the keys.
    ///
    /// # Errors
    ///
    /// [`OnnxError::InFile`], which says what is wrong with the file.
    pub fn load_trusted(path: &Path, trust: &Trust) -> Result<Self, OnnxError> {
        let options = LoadOptions {
            trust: trust.clone(),
            ..LoadOptions::default()
        };
        Self::load_with(path, &options)
    }

    /// As [`Model::load`], with what is said about the model beside its file.
    ///
    /// # Errors
    ///
    /// [`OnnxError::InFile`], which says what is wrong with the file.
    pub fn load_with(path: &Path, options: &LoadOptions) -> Result<Self, OnnxError> {
        let folder = folder_of(path);
        read(path)
            .and_then(|bytes| Self::decode(&bytes, Some(folder), options))
            .map_err(|error| OnnxError::InFile {
                path: path.into(),
                error: Box::new(error),
            })
    }

    /// Reads a model that is complete in itself.
    ///
    /// # Errors
    ///
    /// When the bytes are not a model that can be sampled, or when its weights lie in another
    /// file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OnnxError> {
        Self::from_bytes_with(bytes, &LoadOptions::default())
    }

    /// As [`Model::from_bytes`], with what is said about the model beside its file.
    ///
    /// # Errors
    ///
    /// As [`Model::from_bytes`].
    pub fn from_bytes_with(bytes: &[u8], options: &LoadOptions) -> Result<Self, OnnxError> {
        Self::decode(bytes, None, options)
    }

    fn decode(
        file: &[u8],
        folder: Option<&Path>,
        options: &LoadOptions,
    ) -> Result<Self, OnnxError> {
        if file.is_empty() {
            return Err(OnnxError::Empty);
        }
        let bytes = options.trust.check(Kind::Model, file)?;
        let mut model = parse(bytes)?;
        let Some(mut graph) = model.graph.take() else {
            return Err(OnnxError::NotOnnx("it holds no graph".into()));
        };
        let opset = validate::opset(&model)?;
        let crc = Crc::<u32>::new(&CRC_32_ISO_HDLC);
        let mut crc = crc.digest();
        crc.update(bytes);
        let hashes = metadata::parse(&model.metadata_props, metadata::DATA)?;
        let hashes = hashes.unwrap_or_default();
        let mut beside = external::Beside::new(folder, hashes, options.trust.is_required());
        let constants = graph.node.iter_mut().flat_map(|n| &mut n.attribute);
        let constants = constants.filter_map(|a| a.t.as_mut());
        for tensor in graph.initializer.iter_mut().chain(constants) {
            if external::is_external(tensor) {
                beside.inline(tensor)?;
                crc.update(&tensor.raw_data);
            }
            validate::tensor(tensor)?;
        }
        drop(beside);
        validate::graph(&graph, &model)?;
        half::widen(&mut graph);
        let mut network = Network::new(graph, opset, options.output.as_deref())?;
        if network.sites.is_empty() {
            return Err(deterministic(&network.idle));
        }
        let layout = input::settle(&mut network, options)?;
        let scale = front::fold(&mut network, layout)?;
        let dims = network.input.sizes();
        let input = ends::input_shape(&network.input.name, &dims, options.input_size)?;
        let about = About {
            input,
            layout,
            element: network.input.element,
            scale,
            opset,
            ir_version: model.ir_version,
            crc32: crc.finalize(),
            metadata: Metadata::read(&model.metadata_props, input.channels)?,
        };
        Self::with_logits(network, about, OutputKind::read(&model.metadata_props)?)
    }

    /// The model whose output are logits, whatever those of the network are. `stated` is what the file
    /// says that they are.
    fn with_logits(
        mut network: Network,
        mut about: About,
        stated: Option<OutputKind>,
    ) -> Result<Self, OnnxError> {
        let facts = analysis::one_image(&network, &network.input.sizes())?;
        flatten::fold(&mut network, &facts);
        let scores = scores::find(&network, &facts, stated)?;
        network.prune(&scores.tensor);
        // One score is for two classes.
        let classes = scores.values.max(2);
        about.metadata.complete(classes, about.input)?;
        let row = logits::as_row(&mut network, &facts, &scores);
        let (kind, form) = if let Some(known) = scores.known {
            known
        } else {
            trial::affordable(&network, &facts, &scores.output)?;
            network.outputs = vec![row.clone()];
            let facts = analysis::one_image(&network, &network.input.sizes())?;
            let raw = Self::cut(network.clone(), facts, about.clone(), OutputKind::Logits)?;
            let kind = trial::kind(&raw, &scores.output, scores.positive.as_deref())?;
            (kind, Form::of(kind))
        };
        let logits = logits::make(&mut network, &row, form);
        let as_it_was = logits == scores.tensor;
        network.outputs = vec![logits];
        let facts = if as_it_was {
            facts
        } else {
            analysis::one_image(&network, &network.input.sizes())?
        };
        Self::cut(network, facts, about, kind)
    }

    /// Cuts a network with one output, `[batch, classes]`. `facts` are those of one image.
    fn cut(
        mut network: Network,
        facts: Facts,
        about: About,
        output: OutputKind,
    ) -> Result<Self, OnnxError> {
        let scores = network.outputs[0].clone();
        network.keep_batch(&facts, 1);
        network.prune(&scores);
        ends::activations(&network, &facts)?;
        if network.sites.is_empty() {
            return Err(deterministic(&network.idle));
        }
        dropout::shape_sites(&mut network, &facts)?;
        let Some(&[_, classes]) = facts.get(&scores).map(|fact| &fact.shape[..]) else {
            return Err(OnnxError::Output(format!(
                "{scores} is not one row of scores"
            )));
        };
        let sites: Vec<DropoutSite> = network.sites.iter().map(|(_, site)| site.clone()).collect();
        let idle = network.idle.clone();
        let cut = Cut::new(network, facts, about.ir_version)?;
        let attached = |model| about.metadata.attached(model, about.input.channels, &sites);
        let model = Self {
            idle,
            classes,
            output,
            stem: attached(cut.stem())?,
            head: attached(cut.head())?,
            whole: attached(cut.whole())?,
            about,
            sites,
        };
        model.check_head()?;
        Ok(model)
    }

    /// The live Dropouts, in the order of the graph; a site's index here selects its masks.
    #[must_use]
    pub fn sites(&self) -> &[DropoutSite] {
        &self.sites
    }

    /// The Dropouts that do nothing, and why.
    #[must_use]
    pub fn idle_dropouts(&self) -> &[IdleDropout] {
        &self.idle
    }

    /// Shape of one input. A model on flat vectors of n² values reads an n × n image row by row;
    /// of any other number of values, an image of one row.
    #[must_use]
    pub fn input_shape(&self) -> InputShape {
        self.about.input
    }

    /// Order of the axes in the file's own input. Engines are given channels first all the same.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.about.layout
    }

    /// Type of the elements of the file's own input. Engines are given 32-bit floats all the same; for
    /// [`ElementType::Byte`], whole numbers from 0 to 255 unless [`Model::input_scale`] maps these.
    #[must_use]
    pub fn element_type(&self) -> ElementType {
        self.about.element
    }

    /// The normalisation with which the file's graph begins, if it begins with one: one for all
    /// channels, or one per channel. It is no part of [`Model::stem`] and its like: whoever prepares an
    /// input applies it after what is said of the file, as [`Model::scaled`] does.
    #[must_use]
    pub fn input_scale(&self) -> Option<&[Normalisation]> {
        self.about.scale.as_deref()
    }

    /// `wanted`, which is said of the file's own input, with the graph's own normalisation after it: what
    /// becomes of a picture before an engine is given it.
    #[must_use]
    pub fn scaled(&self, mut wanted: Preprocessing) -> Preprocessing {
        if let Some(scale) = self.input_scale() {
            let both = compose(&wanted.normalisation, scale);
            for (own, both) in wanted.normalisation.iter_mut().zip(both) {
                *own = both;
            }
        }
        wanted
    }

    /// What the file's own output is. Engines yield logits all the same.
    #[must_use]
    pub fn output_kind(&self) -> OutputKind {
        self.output
    }

    /// Number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The file's metadata, with defaults for what it does not say.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.about.metadata
    }

    /// The JSON of the file's entry `mcdropout.preprocessing`, with every field that it may leave out; `None`
    /// if the file does not say what becomes of a picture.
    ///
    /// # Errors
    ///
    /// [`OnnxError::Metadata`] when a number is not one that JSON can hold.
    pub fn preprocessing_entry(&self) -> Result<Option<String>, OnnxError> {
        let wanted = self.metadata().preprocessing.as_ref();
        let entry = wanted.map(|wanted| preprocessing::entry(wanted, self.input_shape().channels));
        Ok(entry.transpose()?.map(|entry| entry.value))
    }

    /// CRC-32 (ISO-HDLC) of the file without its signature, followed by the weights that lie outside it.
    #[must_use]
    pub fn crc32(&self) -> u32 {
        self.about.crc32
    }

    /// ONNX operator set of the file.
    #[must_use]
    pub fn opset(&self) -> i64 {
        self.about.opset
    }

    /// What runs once a frame: the image `[1, …]` in, the tensors that the head reads out.
    #[must_use]
    pub fn stem(&self) -> &ModelProto {
        &self.stem
    }

    /// What runs for every pass: the stem's outputs under their names, then for each site
    /// `keep_mask.<site>` `[passes, …site shape]` of zeros and ones in; [`LOGITS`]
    /// `[passes, classes]` out.
    #[must_use]
    pub fn head(&self) -> &ModelProto {
        &self.head
    }

    /// Stem and head in one graph. `images` is 1, or the number of passes.
    #[must_use]
    pub fn masks_as_inputs(&self) -> &ModelProto {
        &self.whole
    }

    /// The network of the standard test phase: the same with the identity in place of every live
    /// Dropout, however it was written. One image `[1, …]` in, [`LOGITS`] `[1, classes]` out.
    #[must_use]
    pub fn without_dropout(&self) -> ModelProto {
        standard::without_dropout(&self.whole, &self.sites)
    }

    /// Shape of the stem's input, with its batch axis of one.
    pub(crate) fn stem_input_dims(&self) -> Vec<usize> {
        let input = self
            .stem
            .graph
            .as_ref()
            .and_then(|graph| graph.input.first());
        let dims = input.and_then(proto::declared).and_then(|(_, dims)| dims);
        dims.unwrap_or_default()
            .into_iter()
            .flatten()
            .map(|n| n as usize)
            .collect()
    }

    /// Works the head's shapes out for a few passes, which fails when the graph fixes the batch.
    fn check_head(&self) -> Result<(), OnnxError> {
        const PASSES: usize = 3;
        let graph = self.head.graph.as_ref();
        let Some(graph) = graph else { return Ok(()) };
        let initializers = graph.initializer.iter();
        let question = Question {
            opset: self.about.opset,
            nodes: &graph.node,
            initializers: &initializers.map(|t| (t.name.clone(), t.clone())).collect(),
            inputs: graph
                .input
                .iter()
                .filter_map(|input| {
                    let (data_type, dims) = proto::declared(input)?;
                    let size = |d: Option<i64>| d.map_or(PASSES, |n| n as usize);
                    let data_type = DataType::try_from(data_type).ok()?;
                    let shape = dims?.into_iter().map(size).collect();
                    Some((input.name.as_str(), data_type, shape))
                })
                .collect(),
            outputs: &[LOGITS.to_owned()],
        };
        let facts = question
            .answer()
            .map_err(|e| OnnxError::Batch(e.to_string()))?;
        let shape = facts.get(LOGITS).map_or(&[][..], |fact| &fact.shape);
        if shape == [PASSES, self.classes] {
            Ok(())
        } else {
            Err(OnnxError::Batch(format!(
                "{PASSES} passes yield scores of shape {shape:?}"
            )))
        }
    }
}

/// The model file at `path` with a signature, in place of one that it has, which covers the weights
/// beside it, too.
///
/// # Errors
///
/// [`OnnxError::InFile`], if it is no model, or its weights cannot be read.
pub fn sign(path: &Path, key: &SigningKey) -> Result<Vec<u8>, OnnxError> {
    let sign = || {
        let file = read(path)?;
        let model = parse(&file)?;
        let graph = model.graph.unwrap_or_default();
        let constants = graph.node.iter().flat_map(|n| &n.attribute);
        let constants = constants.filter_map(|a| a.t.as_ref());
        let tensors = graph.initializer.iter().chain(constants);
        let hashes = external::hashes(tensors, folder_of(path))?;
        let entries = if hashes.is_empty() {
            Vec::new()
        } else {
            vec![metadata::json(metadata::DATA, &hashes)?]
        };
        let file = metadata::replace(&file, &[metadata::DATA], entries)?;
        Ok(key.sign(Kind::Model, &file))
    };
    sign().map_err(|error| OnnxError::InFile {
        path: path.into(),
        error: Box::new(error),
    })
}

fn deterministic(idle: &[IdleDropout]) -> OnnxError {
    OnnxError::Deterministic {
        found: liveness::describe_idle(idle),
    }
}

fn parse(bytes: &[u8]) -> Result<ModelProto, OnnxError> {
    fields::check(bytes)?;
    ModelProto::decode(bytes).map_err(|e| OnnxError::NotOnnx(one_line(&e.to_string())))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// The whole file, if it is one that can be a model.
fn read(path: &Path) -> Result<Vec<u8>, OnnxError> {
    // Looked at before it is opened: opening a pipe would wait for somebody to write to it.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(OnnxError::Read(io::Error::other(
            "it is not a regular file",
        )));
    }
    let size = metadata.len();
    if size > MAX_FILE {
        return Err(OnnxError::TooLarge(size));
    }
    let mut bytes = Vec::with_capacity(size as usize);
    File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}
