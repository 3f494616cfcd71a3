package failure

import (
	"strings"
	"testing"
	"unicode"
)

// FuzzRedact holds that what marks a credential hides it wherever it stands, and that redacting twice changes nothing more.
func FuzzRedact(f *testing.F) {
	f.Add("Get ", "hunter2hunter2", ": 401", byte(0))
	f.Add("header ", "dXNlcjpzZWNyZXQ=", "\n", byte(1))
	f.Add("a://b@c password=", "x", "&token=y", byte(2))
	f.Fuzz(func(t *testing.T, before, secret, after string, form byte) {
		once := Redact(before + secret + after)
		if twice := Redact(once); Redact(twice) != twice {
			t.Errorf("%q goes on changing: %q, %q", once, twice, Redact(twice))
		}
		secret = strings.Map(func(r rune) rune {
			if unicode.IsLetter(r) && r < 0x80 || r >= '0' && r <= '9' {
				return r
			}
			return -1
		}, secret)
		secret = "S3cret" + secret + "S3cret" // no word of the text around it
		marked := []string{
			"https://user:" + secret + "@host/v2/",
			"Authorization: Basic " + secret,
			"authorization: Bearer " + secret,
			"password=" + secret,
			"?access_token=" + secret + "&x=1",
		}[int(form)%5]
		if got := Redact(before + " " + marked + " " + after); strings.Contains(got, secret) && !strings.Contains(before+after, secret) {
			t.Errorf("Redact(%q) = %q", before+" "+marked+" "+after, got)
		}
		err := New(before, marked, "%s", after)
		if strings.Contains(err.Error(), secret) && !strings.Contains(before+after, secret) {
			t.Errorf("error: %q", err.Error())
		}
	})
}
