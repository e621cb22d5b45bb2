package obs

import (
	"encoding/json"
	"maps"
	"net/http"
	"sort"
	"strings"
	"sync"
)

// Health says whether a process is ready, part by part. The zero value is
// ready; it may be used concurrently.
type Health struct {
	mu     sync.Mutex
	causes map[string]string        // part → why it isn't ready
	looks  map[string]func() string // the same, found out when asked
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

// Cause is what was Set for a part, "" where it is ready.
func (h *Health) Cause(part string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.causes[part]
}

// Watch has cause asked for a part's cause each time that somebody wants to
// know, so that the answer is never late. A cause of the same part that was Set
// goes first.
func (h *Health) Watch(part string, cause func() string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.looks == nil {
		h.looks = map[string]func() string{}
	}
	h.looks[part] = cause
}

// Ready reports whether every part is ready, and if not, why.
func (h *Health) Ready() (ok bool, why string) {
	h.mu.Lock()
	causes, looks := maps.Clone(h.causes), maps.Clone(h.looks)
	h.mu.Unlock()
	for part, look := range looks {
		if causes[part] != "" {
			continue
		}
		if cause := look(); cause != "" {
			if causes == nil {
				causes = map[string]string{}
			}
			causes[part] = cause
		}
	}
	var all []string
	for part, cause := range causes {
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
