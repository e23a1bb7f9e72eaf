//! A picture out of characters.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Color;
use ratatui::widgets::Widget;
use shared::image::luma;

use super::{Colours, Paint};
use crate::monitor::Picture;

/// From dark to bright, where there are no colours.
const RAMP: &[u8] = b" .:-=+*#%@";
/// The 24 greys of a terminal of 256 colours: 232 (dark) and those above.
const GREYS: u8 = 24;
/// What red, green and blue may be in its other colours: 16 and those above, blue fastest.
const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];

/// The nearest colour that a terminal has.
fn nearest(colour: [u8; 3], colours: Colours) -> Color {
    let [red, green, blue] = colour;
    if red == green && green == blue {
        let shade = u16::from(red) * u16::from(GREYS) / 256;
        return Color::Indexed(232 + shade as u8);
    }
    if colours == Colours::All {
        return Color::Rgb(red, green, blue);
    }
    let index = colour.iter().fold(0, |index, &value| {
        let level = (0..6).min_by_key(|&level| LEVELS[level].abs_diff(value));
        6 * index + level.unwrap_or(0) as u8
    });
    Color::Indexed(16 + index)
}

/// Draws a picture with two pixels to a character, one above the other, and makes it smaller where
/// there is too little room.
#[derive(Clone, Copy, Debug)]
pub struct Art<'a> {
    picture: &'a Picture,
    paint: Paint,
}

impl<'a> Art<'a> {
    /// Draws `picture`.
    #[must_use]
    pub const fn new(picture: &'a Picture, paint: Paint) -> Self {
        Self { picture, paint }
    }

    /// Columns and lines of characters that a picture takes within `area`.
    #[must_use]
    pub fn size(picture: &Picture, area: Rect) -> (u16, u16) {
        let step = Self::step(picture, area);
        let (columns, rows) = (picture.width.div_ceil(step), picture.height.div_ceil(step));
        (columns as u16, rows.div_ceil(2) as u16)
    }

    /// Every how many pixels one is drawn.
    fn step(picture: &Picture, area: Rect) -> usize {
        let columns = picture.width.div_ceil(usize::from(area.width).max(1));
        let rows = picture.height.div_ceil(2 * usize::from(area.height).max(1));
        columns.max(rows).max(1)
    }

    fn colour(&self, x: usize, y: usize) -> Option<[u8; 3]> {
        let picture = self.picture.view().ok()?;
        (x < picture.width() && y < picture.height()).then(|| picture.colour(picture.row(y), x))
    }
}

impl Widget for Art<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let (columns, lines) = Self::size(self.picture, area);
        let step = Self::step(self.picture, area);
        for line in 0..lines.min(area.height) {
            for column in 0..columns.min(area.width) {
                let x = usize::from(column) * step;
                let y = 2 * usize::from(line) * step;
                let (upper, lower) = (self.colour(x, y), self.colour(x, y + step));
                let cell = &mut buffer[(area.x + column, area.y + line)];
                let colours = self.paint.colours;
                if colours == Colours::None {
                    let (upper, lower) = (upper.map(luma), lower.map(luma));
                    let (upper, lower) = (upper.unwrap_or(0), lower.or(upper).unwrap_or(0));
                    let mean = usize::midpoint(upper.into(), lower.into());
                    cell.set_char(char::from(RAMP[mean * RAMP.len() / 256]));
                } else {
                    let paint = |colour| nearest(colour, colours);
                    cell.set_char('▀').set_fg(upper.map_or(Color::Reset, paint));
                    cell.set_bg(lower.map_or(Color::Reset, paint));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::image::PixelFormat;

    use super::*;

    fn drawn(colours: Colours, width: u16, height: u16) -> Buffer {
        let picture = Picture {
            width: 4,
            height: 4,
            format: PixelFormat::Grey8,
            pixels: [0, 85, 170, 255].repeat(4),
        };
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        Art::new(&picture, Paint { colours }).render(area, &mut buffer);
        buffer
    }

    #[test]
    fn colours_are_the_nearest_that_a_terminal_has() {
        let red = [200, 10, 40];
        assert_eq!(nearest(red, Colours::All), Color::Rgb(200, 10, 40));
        assert_eq!(nearest(red, Colours::Indexed), Color::Indexed(16 + 36 * 4));
        assert_eq!(
            nearest([90, 0, 255], Colours::Indexed),
            Color::Indexed(16 + 36 + 5)
        );
        let picture = Picture {
            width: 1,
            height: 2,
            format: PixelFormat::Rgb8,
            pixels: vec![200, 10, 40, 0, 0, 255],
        };
        let area = Rect::new(0, 0, 1, 1);
        let mut buffer = Buffer::empty(area);
        let colours = Colours::All;
        Art::new(&picture, Paint { colours }).render(area, &mut buffer);
        let cell = &buffer[(0, 0)];
        assert_eq!(
            (cell.fg, cell.bg),
            (Color::Rgb(200, 10, 40), Color::Rgb(0, 0, 255))
        );
    }

    #[test]
    fn a_picture_is_drawn_in_greys_or_letters_and_smaller_where_it_must() {
        let letters = drawn(Colours::None, 6, 3);
        assert_eq!(letters, Buffer::with_lines([" -*@  ", " -*@  ", "      "]));
        let greys = drawn(Colours::Indexed, 4, 2);
        assert_eq!(greys[(0, 0)].fg, Color::Indexed(232));
        assert_eq!(greys[(3, 1)].bg, Color::Indexed(255));
        let small = drawn(Colours::None, 2, 1);
        assert_eq!(small, Buffer::with_lines([" *"]));
        // Nothing to draw on.
        drawn(Colours::Indexed, 0, 0);
    }
}
