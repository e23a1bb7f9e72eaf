//! A grey picture out of characters.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Color;
use ratatui::widgets::Widget;

use super::Paint;
use crate::monitor::Picture;

/// From dark to bright, where there are no colours.
const RAMP: &[u8] = b" .:-=+*#%@";
/// The 24 greys of a terminal of 256 colours: 232 (dark) and those above.
const GREYS: u8 = 24;

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

    fn luma(&self, x: usize, y: usize) -> Option<u8> {
        let Picture {
            width,
            height,
            pixels,
        } = self.picture;
        (x < *width && y < *height).then(|| pixels[y * width + x])
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
                let (upper, lower) = (self.luma(x, y), self.luma(x, y + step));
                let cell = &mut buffer[(area.x + column, area.y + line)];
                if self.paint.colour {
                    let grey = |luma: u8| {
                        let shade = u16::from(luma) * u16::from(GREYS) / 256;
                        Color::Indexed(232 + shade as u8)
                    };
                    cell.set_char('▀').set_fg(upper.map_or(Color::Reset, grey));
                    cell.set_bg(lower.map_or(Color::Reset, grey));
                } else {
                    let (upper, lower) = (upper.unwrap_or(0), lower.or(upper).unwrap_or(0));
                    let mean = usize::midpoint(upper.into(), lower.into());
                    cell.set_char(char::from(RAMP[mean * RAMP.len() / 256]));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(colour: bool, width: u16, height: u16) -> Buffer {
        let picture = Picture {
            width: 4,
            height: 4,
            pixels: [0, 85, 170, 255].repeat(4),
        };
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        Art::new(&picture, Paint { colour }).render(area, &mut buffer);
        buffer
    }

    #[test]
    fn a_picture_is_drawn_in_greys_or_letters_and_smaller_where_it_must() {
        let letters = drawn(false, 6, 3);
        assert_eq!(letters, Buffer::with_lines([" -*@  ", " -*@  ", "      "]));
        let greys = drawn(true, 4, 2);
        assert_eq!(greys[(0, 0)].fg, Color::Indexed(232));
        assert_eq!(greys[(3, 1)].bg, Color::Indexed(255));
        let small = drawn(false, 2, 1);
        assert_eq!(small, Buffer::with_lines([" *"]));
        // Nothing to draw on.
        drawn(true, 0, 0);
    }
}
