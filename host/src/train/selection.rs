//! Which images a recipe trains and tests on.

use std::path::Path;

use anyhow::{bail, ensure};

use super::Recipe;
use crate::data::{Dataset, DatasetName, Split, load_labelled};

/// The training images of the data set, and those added from other folders, as often as they are to
/// be seen; both with the classes of the model.
pub(super) fn training(recipe: &Recipe) -> anyhow::Result<(Dataset, Dataset)> {
    let name: DatasetName = recipe.dataset.parse()?;
    let base = name.load(Split::Train)?;
    if recipe.without.is_empty() && recipe.extra.is_empty() {
        let none = base.select(&[]);
        return Ok((base, none));
    }
    let extra: Vec<Dataset> = recipe
        .extra
        .iter()
        .map(|folder| load_labelled(Path::new(folder)))
        .collect::<Result<_, _>>()?;
    for left_out in &recipe.without {
        ensure!(
            base.class_names.contains(left_out),
            "--without {left_out}: {name} has no such class, but {}",
            base.class_names.join(", ")
        );
    }
    let classes = classes(&base.class_names, &recipe.without, &extra);
    if classes.len() < 2 {
        bail!("{} class is left: at least 2 are needed", classes.len());
    }
    let added = classes
        .iter()
        .filter(|class| !base.class_names.contains(class));
    for class in added {
        tracing::info!("class '{class}', which {name} has not, is added");
    }
    let kept: Vec<String> = base
        .class_names
        .iter()
        .filter(|class| !recipe.without.contains(class))
        .cloned()
        .collect();
    // Away with what is left out, then on to the model's labels.
    let base = base.of_classes(&kept).of_classes(&classes);
    let mut more = base.select(&[]);
    for _ in 0..recipe.oversample {
        for extra in &extra {
            more.append(&extra.of_classes(&classes));
        }
    }
    Ok((base, more))
}

/// The test images of a model of these classes.
pub(super) fn test(recipe: &Recipe, classes: &[String]) -> anyhow::Result<Dataset> {
    let name: DatasetName = recipe.dataset.parse()?;
    Ok(name.load(Split::HeldOut)?.of_classes(classes))
}

/// The data set's classes in their order, but for those that are left out and not added again, then
/// the new ones, sorted.
fn classes(base: &[String], without: &[String], extra: &[Dataset]) -> Vec<String> {
    let added = || extra.iter().flat_map(|extra| &extra.class_names);
    let mut classes: Vec<String> = base
        .iter()
        .filter(|class| !without.contains(class) || added().any(|added| added == *class))
        .cloned()
        .collect();
    let mut new: Vec<String> = added().filter(|it| !base.contains(it)).cloned().collect();
    new.sort();
    new.dedup();
    classes.extend(new);
    classes
}

#[cfg(test)]
mod tests {
    use shared::image::PixelFormat;

    use super::*;

    fn set(classes: &[&str]) -> Dataset {
        Dataset::in_memory(
            classes.iter().map(ToString::to_string).collect(),
            (0..classes.len() as u16).collect(),
            (1, 1),
            PixelFormat::Grey8,
            (0..classes.len() as u8).collect(),
        )
    }

    #[test]
    fn classes_keep_their_order_and_new_ones_come_last() {
        let base = set(&["a", "b", "c"]).class_names;
        let of = |without: &[&str], extra: &[&[&str]]| {
            let without: Vec<_> = without.iter().map(ToString::to_string).collect();
            let extra: Vec<_> = extra.iter().map(|classes| set(classes)).collect();
            classes(&base, &without, &extra).join("")
        };
        assert_eq!(of(&[], &[]), "abc");
        assert_eq!(of(&["b"], &[]), "ac");
        assert_eq!(of(&["b"], &[&["b"]]), "abc");
        assert_eq!(of(&["b"], &[&["z", "c"], &["x", "z"]]), "acxz");
    }

    #[test]
    fn labels_follow_the_names() {
        let names = ["c", "new", "a"].map(String::from);
        let chosen = set(&["a", "b", "c"]).of_classes(&names);
        assert_eq!(chosen.labels, [2, 0]);
        let shade = |image| {
            let frame = chosen.frame(image, PixelFormat::Grey8).expect("in memory");
            frame.pixels[0]
        };
        assert_eq!([0, 1].map(shade), [0, 2]);
        let mut both = chosen.clone();
        both.append(&chosen);
        assert_eq!(both.labels, [2, 0, 2, 0]);
    }
}
