package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// figure is what one metric of one server was in each round of a case.
type figure struct {
	Case   string    `json:"case"`
	Server string    `json:"server"`
	Metric string    `json:"metric"`
	Value  float64   `json:"value"` // the median
	Rounds []float64 `json:"rounds"`
}

// drift is what the machine itself was like in each turn of a case.
type drift struct {
	Case         string    `json:"case"`
	Server       string    `json:"server"`
	Calibrations []float64 `json:"calibration_ms"`
	Stolen       []float64 `json:"stolen_cores"`
}

// results collects figures in the order in which they were measured.
type results struct {
	Date    string    `json:"date"`
	Machine string    `json:"machine"`
	Command string    `json:"command"`
	Figures []*figure `json:"figures"`
	Drifts  []*drift  `json:"machine_meanwhile"`
}

func newResults() *results {
	return &results{
		Date: time.Now().UTC().Format("2006-01-02 15:04 UTC"), Machine: machine(),
		Command: "bench/run.sh " + strings.Join(userArgs(os.Args[1:]), " "),
	}
}

// userArgs leaves out what bench/run.sh adds itself.
func userArgs(args []string) []string {
	if i := slices.Index(args, "-json"); i >= 0 && i+2 <= len(args) {
		return args[i+2:]
	}
	return args
}

func machine() string {
	cpu := "unknown CPU"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, ok := strings.CutPrefix(line, "model name\t: "); ok {
				cpu = strings.TrimSpace(name)
				break
			}
		}
	}
	mem := ""
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kb int64
		if _, err := fmt.Sscanf(string(b), "MemTotal: %d kB", &kb); err == nil {
			mem = fmt.Sprintf(", %d GiB", (kb+1<<19)>>20)
		}
	}
	kernel := ""
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = ", Linux " + strings.TrimSpace(string(b))
	}
	java := ""
	if b, err := exec.Command("java", "-version").CombinedOutput(); err == nil {
		java = ", " + strings.SplitN(string(b), "\n", 2)[0]
	}
	return fmt.Sprintf("%d × %s%s%s, %s%s", runtime.NumCPU(), cpu, mem, kernel, runtime.Version(), java)
}

// set records a metric of one round.
func (r *results) set(name, server, metric string, v float64) {
	f := r.get(name, server, metric)
	if f == nil {
		f = &figure{Case: name, Server: server, Metric: metric}
		r.Figures = append(r.Figures, f)
	}
	f.Rounds = append(f.Rounds, v)
	f.Value = median(f.Rounds)
	fmt.Printf("%-7s %-36s %-18s %12s\n", server, name, metric, human(v))
}

// get is nil where nothing was measured.
func (r *results) get(name, server, metric string) *figure {
	for _, f := range r.Figures {
		if f.Case == name && f.Server == server && f.Metric == metric {
			return f
		}
	}
	return nil
}

func (r *results) drift(name, server string) *drift {
	for _, d := range r.Drifts {
		if d.Case == name && d.Server == server {
			return d
		}
	}
	d := &drift{Case: name, Server: server}
	r.Drifts = append(r.Drifts, d)
	return d
}

func (r *results) calibrated(name, server string, took time.Duration) {
	d := r.drift(name, server)
	d.Calibrations = append(d.Calibrations, float64(took.Microseconds())/1e3)
}

func (r *results) stolen(name, server string, cores float64) {
	d := r.drift(name, server)
	d.Stolen = append(d.Stolen, cores)
}

// ratio is the median of the rounds' own ratios, so that a machine that was
// faster in one round than in the next favours neither side, and the spread of
// those ratios. Where the rounds can't be paired it is that of the medians.
func ratio(over, under *figure) (mid, low, high float64, ok bool) {
	if over == nil || under == nil {
		return 0, 0, 0, false
	}
	o, u := over.Rounds, under.Rounds
	if len(o) != len(u) {
		o, u = []float64{over.Value}, []float64{under.Value}
	}
	var all []float64
	for i := range o {
		if u[i] > 0 {
			all = append(all, o[i]/u[i])
		}
	}
	if len(all) == 0 {
		return 0, 0, 0, false
	}
	return median(all), slices.Min(all), slices.Max(all), true
}

func median(all []float64) float64 {
	s := slices.Sorted(slices.Values(all))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

func human(v float64) string {
	switch {
	case v >= 10_000:
		return fmt.Sprintf("%.0f", v)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func (r *results) writeJSON(name string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("encoding the results: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("making the results' folder: %w", err)
	}
	if err := os.WriteFile(name, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the results: %w", err)
	}
	return nil
}

// fileName makes a name of a case usable as a file's.
func fileName(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" ,/×", r) {
			return '-'
		}
		return r
	}, s)
}
