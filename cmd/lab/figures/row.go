package figures

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// Row is one figure: what many runs had in common.
type Row struct {
	What   string  `json:"what"`
	Unit   string  `json:"unit,omitempty"`
	Median float64 `json:"median"`
	Worst  float64 `json:"worst"` // the largest: every figure here is better when it is smaller
	N      int     `json:"n"`
	Goal   string  `json:"goal,omitempty"`
	Met    *bool   `json:"met,omitempty"` // absent where nothing was promised
}

// row condenses values; none give a row with n = 0, which meets no goal.
func row(what, unit string, values ...float64) Row {
	r := Row{What: what, Unit: unit, N: len(values)}
	if len(values) > 0 {
		r.Median, r.Worst = median(values), slices.Max(values)
	}
	return r
}

// median of an even number of values is the mean of the two in the middle; of none it is 0.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// anything is the limit of what nothing was promised for.
var anything = math.Inf(1)

// atMost sets what was promised of the median and of the worst.
func (r Row) atMost(median, worst float64) Row {
	met := r.N > 0 && r.Median <= median && r.Worst <= worst
	r.Met = &met
	switch {
	case median == worst || math.IsInf(median, 1):
		r.Goal = "≤ " + number(worst)
	case math.IsInf(worst, 1):
		r.Goal = "median ≤ " + number(median)
	default:
		r.Goal = fmt.Sprintf("median ≤ %s, worst ≤ %s", number(median), number(worst))
	}
	return r
}

// number prints three digits at most, and whole numbers whole.
func number(v float64) string {
	switch {
	case v == math.Trunc(v) || math.Abs(v) >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case math.Abs(v) >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case math.Abs(v) >= 0.01:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'g', 2, 64)
}

func (r Row) verdict() string {
	switch {
	case r.Met == nil:
		return ""
	case *r.Met:
		return "met"
	}
	return "MISSED"
}

// each takes one value from every run.
func each[T any](runs []T, value func(T) float64) []float64 {
	var out []float64
	for _, r := range runs {
		out = append(out, value(r))
	}
	return out
}

func seconds[D ~int64](d D) float64 { return time.Duration(d).Seconds() }
