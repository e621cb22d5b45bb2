package remoting

import (
	"strings"
	"testing"
)

// Requests of newer versions are refused with a reason, in either serializer's
// form of their code.
func TestWhyNewerRequestsAreNotSupported(t *testing.T) {
	for code, want := range map[int]string{
		200070: "lite", 200079: "lite", Short(200071): "lite", 5001: "timer", 5002: "one at a time", 5003: "one at a time", 200056: "turn back",
	} {
		if _, known := Unsupported(Short(code)); !known || !strings.Contains(NotSupported(code), want) {
			t.Errorf("request %d: %s", code, NotSupported(code))
		}
	}
	for _, code := range []int{PopMessage, AckMessage, BatchAckMessage, Notification} {
		if why, known := Unsupported(Short(code)); known {
			t.Errorf("request %d, which is taken: %s", code, why)
		}
	}
}
