package clients

// logScenes read what pods of another host say.
func logScenes() []scene {
	return []scene{
		{"logs", func(a *actor) {
			a.ok("kubectl logs talker -c main", `^first line$`, `^to stderr$`, `^tick 1$`)
			a.ok("kubectl logs talker", `Defaulted container "main" out of: main, side`, `^first line$`)
			a.ok("kubectl logs talker -c side", `\Aaside\n\z`)
			a.ok("kubectl logs talker -c main --tail=1", `\Atick \d+\n\z`)
			a.ok("kubectl logs talker --all-containers --prefix", `^\[pod/talker/side\] aside$`, `^\[pod/talker/main\] tick 1$`)
			a.ok("kubectl logs talker -c main --timestamps --tail=1", `\A\d{4}-\d\d-\d\dT\S+ tick \d+\n\z`)
			a.ok("kubectl logs -l app=talker -c main --tail=2", `\Atick \d+\ntick \d+\n\z`)
			a.ok("kubectl logs service/talker -c main --tail=1", `^tick \d+$`)
			a.ok("kubectl logs talker -c main --limit-bytes=5", `\A(first|to st)\z`)
		}},
		{"logs -f", func(a *actor) {
			f := a.start("kubectl logs -f talker -c main --tail=1")
			f.expect(`^tick \d+$`)
			f.expect(`^tick \d+$`)
			f.expect(`^tick \d+$`)
		}},
		{"logs -f ends with the container", func(a *actor) {
			a.apply("p", onFar("brief", `[sh, -c, "for i in 1 2 3 4; do echo step $i; sleep 1; done"]`, "Never"))
			a.ok("kubectl wait --for=jsonpath='{.status.phase}'=Running pod/brief --timeout=30s")
			f := a.start("kubectl logs -f brief")
			f.expect(`^step 1$`)
			f.expect(`^step 4$`)
			f.ends(0)
			a.ok("kubectl logs brief", `\Astep 1\nstep 2\nstep 3\nstep 4\n\z`)
		}},
		{"logs --since", func(a *actor) {
			a.soon("kubectl logs talker -c main", `^tick 6$`)
			a.ok("kubectl logs talker -c main --since=2s", `^tick \d+$`, `!first line`)
			a.ok("kubectl logs talker -c main --since=1h", `^first line$`)
			a.ok(`kubectl logs talker -c main --since-time=$(date -u -d '-3 seconds' +%Y-%m-%dT%H:%M:%SZ)`, `^tick \d+$`, `!first line`)
		}},
		{"logs --previous", func(a *actor) {
			a.soon("kubectl get pod dier -o jsonpath='{.status.containerStatuses[0].restartCount}'", `^[1-9]`)
			a.soon("kubectl logs dier --previous", `\Aa life began\nit ends\n\z`)
			a.no("kubectl logs talker -c side --previous", `previous terminated container "side" in pod "talker" not found`)
		}},
		{"logs that cannot be", func(a *actor) {
			a.no("kubectl logs nobody", `\(NotFound\): pods "nobody" not found`)
			a.no("kubectl logs talker -c nobody", `container nobody is not valid for pod talker`)
		}},
	}
}

// onFar is a pod on the far host that runs a command.
func onFar(name, command, restart string) string {
	return `
apiVersion: v1
kind: Pod
metadata: {name: ` + name + `, labels: {app: ` + name + `}}
spec:
  nodeSelector: {kubernetes.io/hostname: $FAR}
  restartPolicy: ` + restart + `
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "busybox:1", stdin: true, command: ` + command + `}]
`
}
