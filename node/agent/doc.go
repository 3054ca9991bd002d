// Package agent runs the pods that are bound to this host on its Docker Engine, and tells the API how they and the host
// are doing.
//
// Each pod has one worker. It is level-triggered: an event, a probe, a finished pull or a timer only wakes it; it then looks
// at the whole picture (sighting), decides (decide, a pure function) and acts; every act is safe to do twice. All that a
// restarted daemon needs is in the containers' labels, so that it restarts nothing.
package agent
