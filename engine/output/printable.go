package output

import (
	"strings"
	"unicode/utf8"
)

// Printable returns text that can't do anything to a terminal, whoever wrote it: no moving of the cursor, no new title, no
// writing to the clipboard, no letters that run backwards. Escape sequences for colours and the cursor go, other control
// characters and those that turn the direction of writing become a dot, bytes that aren't UTF-8 the replacement
// character. Tabs stay; a line's end is a control character too.
func Printable(text string) string {
	if strings.IndexFunc(text, isUnsafe) < 0 && utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		if n := escapeLen(text[i:]); n > 0 {
			i += n
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		i += size
		if isUnsafe(r) {
			r = '·'
		}
		b.WriteRune(r) // utf8.RuneError where a byte isn't UTF-8: in other encodings 0x9b starts an escape sequence
	}
	return b.String()
}

// isUnsafe is true of control characters, the second set (C1) included, of line and paragraph separators, and of what
// changes the direction of writing.
func isUnsafe(r rune) bool {
	switch {
	case r == '\t':
		return false
	case r < 0x20, r >= 0x7f && r < 0xa0:
		return true
	case r == 0x061c, r == 0x200e, r == 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return true
	}
	return false
}

// escapeLen returns the length of the colour or cursor sequence (ECMA-48 CSI) that text starts with, or 0.
func escapeLen(text string) int {
	if !strings.HasPrefix(text, "\x1b[") {
		return 0
	}
	for i := 2; i < len(text); i++ {
		if text[i] >= 0x40 && text[i] <= 0x7e {
			return i + 1
		}
	}
	return len(text)
}

// wholeRunes returns the length of text without a last character that isn't whole yet.
func wholeRunes(text []byte) int {
	for n := len(text) - 1; n >= 0 && n > len(text)-utf8.UTFMax; n-- {
		if utf8.RuneStart(text[n]) {
			if utf8.FullRune(text[n:]) {
				break
			}
			return n
		}
	}
	return len(text)
}
