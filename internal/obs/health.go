package obs

import (
	"encoding/json"
	"net/http"
	"sort"
	"strings"
	"sync"
)

// Health says whether a process is ready, part by part. The zero value is
// ready; it may be used concurrently.
type Health struct {
	mu     sync.Mutex
	causes map[string]string // part → why it isn't ready
}

// Set says why a part isn't ready; an empty cause says that it is.
func (h *Health) Set(part, cause string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if cause == "" {
		delete(h.causes, part)
		return
	}
	if h.causes == nil {
		h.causes = map[string]string{}
	}
	h.causes[part] = cause
}

// Ready reports whether every part is ready, and if not, why.
func (h *Health) Ready() (ok bool, why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for part, cause := range h.causes {
		all = append(all, part+": "+cause)
	}
	sort.Strings(all)
	return len(all) == 0, strings.Join(all, "; ")
}

// Live answers that the process runs.
func (h *Health) Live(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok", "") }

// ServeReady answers whether the process is ready.
func (h *Health) ServeReady(w http.ResponseWriter, _ *http.Request) {
	if ok, why := h.Ready(); !ok {
		answer(w, http.StatusServiceUnavailable, "not ready", why)
		return
	}
	answer(w, http.StatusOK, "ready", "")
}

func answer(w http.ResponseWriter, status int, state, why string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct {
		Status string `json:"status"`
		Reason string `json:"reason,omitempty"`
	}{state, why})
}
