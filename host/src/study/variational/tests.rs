use proptest::prelude::*;
use shared::image::FrameStatistics;
use shared::triage::Thresholds;

use super::*;
use crate::lenet::tests::example;

#[test]
fn the_divergence_is_what_weight_decay_adds_to_the_loss() {
    let model = example([0.5, 0.2, 0.0]);
    let (decay, images) = (1e-3, 500);
    let layers = layers(&model, decay, images);
    let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["conv1", "conv2", "fc1", "fc2"]);
    assert_eq!(
        layers.iter().map(|layer| layer.keep).collect::<Vec<_>>(),
        [1.0, 0.5, 0.8, 1.0]
    );
    // l² = q λ N with q = ½ for conv2.
    assert!((layers[1].length_scale.powi(2) - 0.25).abs() < 1e-12);
    // SGD adds λ w to the gradient: λ/2 ‖w‖² to the loss.
    let parameters = model.parameters.iter();
    let values = parameters.flat_map(|parameter| &parameter.values);
    let penalty: f64 = values.map(|&w| decay / 2.0 * f64::from(w).powi(2)).sum();
    let kl: f64 = layers.iter().map(|layer| layer.kl).sum();
    assert!((kl / penalty - 1.0).abs() < 1e-12, "{kl} and {penalty}");
    let flat = super::layers(&model, 0.0, images);
    assert!(
        flat.iter()
            .all(|layer| layer.kl == 0.0 && layer.weight_norm > 0.0)
    );
}

fn measured(logits: &[f32]) -> OfImage {
    let passes = Passes {
        logits,
        classes: 2,
        statistics: FrameStatistics::default(),
        thresholds: &Thresholds::OFF,
    };
    of_image(&passes, 0).expect("finite")
}

#[test]
fn two_images_are_those_computed_by_hand() {
    // Probabilities of the label: ¾ and ¼; then ½ and ½.
    let mixed = measured(&[3f32.ln(), 0.0, 0.0, 3f32.ln()]);
    let even = measured(&[0.0; 4]);
    let found = sum_up(&[mixed, even], 2);
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} and {b}");
    let mean = f64::midpoint(0.75f64.ln(), 0.25f64.ln());
    close(found.expected.mean, f64::midpoint(mean, 0.5f64.ln()));
    close(
        found.expected_one_pass.mean,
        f64::midpoint(0.75f64.ln(), 0.5f64.ln()),
    );
    close(found.log_mean, 0.5f64.ln());
    // Two values 2h apart have the variance 2h²; over 2 images, of 1 pass each or 2.
    let variance = 3f64.ln().powi(2) / 2.0;
    let error = found.expected_one_pass.standard_error.expect("two passes");
    close(error, variance.sqrt() / 2.0);
    let error = found.expected.standard_error.expect("two passes");
    close(error, (variance / 2.0).sqrt() / 2.0);
    assert_eq!(
        sum_up(&[measured(&[0.0; 2])], 1).expected.standard_error,
        None
    );
    let passes = Passes {
        logits: &[f32::NAN, 0.0],
        classes: 2,
        statistics: FrameStatistics::default(),
        thresholds: &Thresholds::OFF,
    };
    let error = of_image(&passes, 0).expect_err("no number");
    assert!(error.to_string().contains("not a finite number"), "{error}");
}

proptest! {
    /// Jensen's inequality, also where probabilities underflow.
    #[test]
    fn the_log_of_the_mean_is_never_below_the_mean_of_the_logs(
        logits in prop::collection::vec(-900f32..900.0, 2..40),
    ) {
        let even = logits.len() / 2 * 2;
        let image = measured(&logits[..even]);
        prop_assert!(image.log_mean >= image.mean - 1e-9, "{image:?}");
        prop_assert!(image.log_mean <= 1e-12 && image.mean.is_finite());
    }
}
