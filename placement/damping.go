package placement

import "time"

// Damping keeps pods off hosts that come and go, as BGP does with routes (RFC 2439): every disappearance adds a penalty that
// halves with time; above Suppress the host is a last resort until the penalty has fallen below Reuse. So a host that flaps for
// ever costs a bounded number of moves where there is another, and one that failed once is used again at once.
type Damping struct {
	HalfLife time.Duration
	PerFlap  int64
	Suppress int64 // above PerFlap, so that one failure never suppresses
	Reuse    int64 // below Suppress
	Ceiling  int64 // the penalty never exceeds it: bounds how long a host that has settled stays out
}

// DefaultDamping suppresses at the third disappearance within about two minutes, for at most four half-lives.
func DefaultDamping() Damping {
	return Damping{HalfLife: 2 * time.Minute, PerFlap: 1000, Suppress: 2000, Reuse: 750, Ceiling: 12000}
}

// Flaps is what is remembered of one host; the zero value is a host that never failed.
type Flaps struct {
	Penalty    int64
	At         time.Time // of Penalty
	Suppressed bool
}

// Lost notes that the host disappeared. now must not be before f.At; if it is, it counts as f.At.
func (d Damping) Lost(f Flaps, now time.Time) Flaps {
	f = d.Aged(f, now)
	f.Penalty = min(f.Penalty+d.PerFlap, d.Ceiling)
	f.Suppressed = f.Suppressed || f.Penalty > d.Suppress
	return f
}

// Aged brings the penalty to now, by whole 1/256 of a half-life.
func (d Damping) Aged(f Flaps, now time.Time) Flaps {
	step := d.HalfLife / 256
	if step <= 0 || f.Penalty == 0 || !now.After(f.At) {
		if f.At.IsZero() {
			f.At = now
		}
		return f
	}
	steps := int64(now.Sub(f.At) / step)
	f.At = f.At.Add(time.Duration(steps) * step)
	if octaves := steps / 256; octaves > 62 {
		f.Penalty = 0
	} else {
		f.Penalty >>= octaves
	}
	for range steps % 256 {
		f.Penalty -= f.Penalty * 11349 >> 22 // 1 − 2^(−1/256) is 11349/2^22
	}
	f.Suppressed = f.Suppressed && f.Penalty >= d.Reuse
	return f
}

// Until tells when the host may take pods again, if it does not disappear any more; zero: now.
func (d Damping) Until(f Flaps, now time.Time) time.Time {
	f = d.Aged(f, now)
	if !f.Suppressed {
		return time.Time{}
	}
	low, high := time.Duration(0), d.HalfLife
	for d.Aged(f, f.At.Add(high)).Suppressed {
		low, high = high, 2*high
	}
	for high-low > time.Second {
		if mid := (low + high) / 2; d.Aged(f, f.At.Add(mid)).Suppressed {
			low = mid
		} else {
			high = mid
		}
	}
	return f.At.Add(high)
}
