package sandbox_test

import (
	"testing"
)

func TestSmoke(t *testing.T) {
	s := newStep(t, newRoot(t), "id; cat /proc/self/status | grep -E 'Cap|Seccomp|NoNew|Groups'; ls -l /dev /proc/self/fd; cat /proc/self/mountinfo; hostname; pwd; env; ulimit -a; umask; ps")
	code, text := output(t, s)
	t.Logf("%d\n%s", code, text)
}

func BenchmarkStep(b *testing.B) {
	s := newStep(b, newRoot(b), ":")
	s.Stdout, s.Stderr = s.Stdin, s.Stdin
	for b.Loop() {
		state, err := s.Run(b.Context())
		must(b, err)
		if !state.Success() {
			b.Fatal(state)
		}
	}
}
