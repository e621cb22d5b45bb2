package sha256pair

import "testing"

// TestOtherProcessors runs the tests without the instructions.
func TestOtherProcessors(t *testing.T) {
	if !paired {
		t.Skip("this processor is one")
	}
	paired = false
	t.Cleanup(func() { paired = true })
	TestSums(t)
	TestGrown(t)
}

// TestAloneIsTheSame hashes messages by the lane that is left when the other has
// nothing more to do.
func TestAloneIsTheSame(t *testing.T) {
	if !paired {
		t.Skip("no SHA instructions")
	}
	data := noise(1000)
	for n := range len(data) {
		check(t, nil, data[:n])
		check(t, data[:n], nil)
	}
}
