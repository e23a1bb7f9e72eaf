//! Which of a model's classes those of a data set are.

use std::collections::HashSet;
use std::fmt::Write as _;

/// Names that an error shows of a side.
const SHOWN: usize = 12;

/// How the classes of a data set were found among those of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchedBy {
    /// By their names; where all names on both sides are numbers, by these.
    Name,
    /// The data set's names are numbers, taken for those of the model's outputs.
    Number,
    /// The model's names are no more than numbers: one after the other.
    Order,
}

/// The class of a model for each class of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassMap {
    classes: Vec<usize>,
    /// How they were found.
    pub by: MatchedBy,
}

/// Classes that a model does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the model has the classes {model}, the data set has {data}: {reason}")]
pub struct ClassMismatch {
    model: String,
    data: String,
    reason: String,
}

impl ClassMap {
    /// Finds the classes named `data` among those named `model`: by name, if there are all of them. A
    /// class of the model that the data set has no picture of does not matter.
    ///
    /// # Errors
    /// [`ClassMismatch`], which tells both sides.
    pub fn new(model: &[String], data: &[String]) -> Result<Self, ClassMismatch> {
        let place = |name: &String| model.iter().position(|known| known == name);
        if let Some(classes) = data.iter().map(place).collect() {
            return Self::one_to_one(classes, MatchedBy::Name, model, data);
        }
        let is_numbered = |(class, name): (usize, &String)| *name == class.to_string();
        // As of a model whose file names no classes.
        let numbered = model.iter().enumerate().all(is_numbered);
        match (numbers(model), numbers(data)) {
            (Some(known), Some(wanted)) => {
                let place = |number: &u64| known.iter().position(|known| known == number);
                if let Some(classes) = wanted.iter().map(place).collect() {
                    return Self::one_to_one(classes, MatchedBy::Name, model, data);
                }
            }
            (None, Some(wanted)) => {
                let place = |number: &u64| {
                    let class = usize::try_from(*number).ok();
                    class.filter(|&class| class < model.len())
                };
                if let Some(classes) = wanted.iter().map(place).collect() {
                    return Self::one_to_one(classes, MatchedBy::Number, model, data);
                }
            }
            (Some(_), None) if numbered && model.len() == data.len() => {
                let classes = (0..data.len()).collect();
                return Self::one_to_one(classes, MatchedBy::Order, model, data);
            }
            _ => {}
        }
        let unknown: Vec<String> = match (numbers(model), numbers(data)) {
            (Some(known), Some(wanted)) => {
                let pairs = wanted.iter().zip(data);
                let unknown = pairs.filter(|(number, _)| !known.contains(number));
                unknown.map(|(_, name)| name.clone()).collect()
            }
            _ => data
                .iter()
                .filter(|it| place(it).is_none())
                .cloned()
                .collect(),
        };
        let reason = format!("the model does not know {}", shortened(&unknown));
        Err(mismatch(model, data, reason))
    }

    fn one_to_one(
        classes: Vec<usize>,
        by: MatchedBy,
        model: &[String],
        data: &[String],
    ) -> Result<Self, ClassMismatch> {
        let mut seen = HashSet::new();
        match classes.iter().position(|class| !seen.insert(*class)) {
            Some(twice) => {
                let reason = format!("'{}' is a class that is there twice", data[twice]);
                Err(mismatch(model, data, reason))
            }
            None => Ok(Self { classes, by }),
        }
    }

    /// The model's class of a label of the data set.
    ///
    /// # Panics
    /// The data set has no such label.
    #[must_use]
    pub fn class(&self, label: u16) -> usize {
        self.classes[usize::from(label)]
    }

    /// What whoever looks at the figures must know, if the names do not say it all.
    #[must_use]
    pub fn warning(&self) -> Option<&'static str> {
        match self.by {
            MatchedBy::Name => None,
            MatchedBy::Number => Some(
                "its classes are named by numbers, which are taken for those of the model's outputs",
            ),
            MatchedBy::Order => Some(
                "the model's classes have no names but numbers: those of the data set are taken in their order; was the model trained on them?",
            ),
        }
    }
}

fn mismatch(model: &[String], data: &[String], reason: String) -> ClassMismatch {
    ClassMismatch {
        model: shortened(model),
        data: shortened(data),
        reason,
    }
}

/// The numbers that all names are; `None` if one is something else.
pub(super) fn numbers(names: &[String]) -> Option<Vec<u64>> {
    let number = |name: &String| {
        let digits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| name.parse().ok())?
    };
    names.iter().map(number).collect()
}

/// The names, the first few where there are many.
fn shortened(names: &[String]) -> String {
    let mut text = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN {
        // Writing to a String does not fail.
        let _ = write!(text, ", … ({} in all)", names.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split(' ').map(String::from).collect()
    }

    fn found(model: &str, data: &str) -> (Vec<usize>, MatchedBy) {
        let map = ClassMap::new(&names(model), &names(data)).expect("they match");
        (map.classes.clone(), map.by)
    }

    fn refused(model: &str, data: &str) -> String {
        let error = ClassMap::new(&names(model), &names(data)).expect_err("they do not match");
        error.to_string()
    }

    #[test]
    fn classes_are_found_by_their_names_in_any_order() {
        assert_eq!(found("dog cat", "cat dog"), (vec![1, 0], MatchedBy::Name));
        assert_eq!(found("a b c d", "d b"), (vec![3, 1], MatchedBy::Name));
        // Sorted as text.
        assert_eq!(
            found("0 1 2 3 4 5 6 7 8 9 10", "0 1 10 2"),
            (vec![0, 1, 10, 2], MatchedBy::Name)
        );
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        assert_eq!(found("0 1 2", "00002 00"), (vec![2, 0], MatchedBy::Name));
        assert_eq!(found("00 01 02", "2 1"), (vec![2, 1], MatchedBy::Name));
        assert_eq!(found("stop go", "01 00"), (vec![1, 0], MatchedBy::Number));
        assert!(refused("0 1 2", "00 3").contains("does not know 3"));
        assert!(refused("0 1 2", "1 01").contains("'01' is a class that is there twice"));
        assert!(refused("stop go", "1 2").contains("does not know 1, 2"));
    }

    #[test]
    fn a_model_without_names_takes_as_many_classes_in_their_order() {
        assert_eq!(found("0 1", "cat dog"), (vec![0, 1], MatchedBy::Order));
        assert!(refused("0 1 2", "cat dog").contains("does not know cat, dog"));
        // These are names.
        assert!(refused("1 2", "cat dog").contains("does not know cat, dog"));
    }

    #[test]
    fn a_mismatch_tells_both_sides_shortened() {
        let message = refused("cat dog", "cat bird");
        assert_eq!(
            message,
            "the model has the classes cat, dog, the data set has cat, bird: the model does not know bird"
        );
        let many: Vec<String> = (0..43).map(|class| format!("sign-{class}")).collect();
        let error = ClassMap::new(&many, &names("cat dog")).expect_err("refused");
        let message = error.to_string();
        assert!(message.contains("sign-11, … (43 in all)"), "{message}");
        assert!(!message.contains("sign-12"), "{message}");
    }
}
