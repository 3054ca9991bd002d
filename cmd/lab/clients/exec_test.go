package clients

// Both ways to carry streams: what kubectl does by itself, and what older clients do.
const spdy = "KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false KUBECTL_PORT_FORWARD_WEBSOCKETS=false "

// execScenes go into containers of another host.
func execScenes() []scene {
	return []scene{
		{"exec", func(a *actor) {
			for _, way := range []string{"", spdy} {
				a.ok(way+"kubectl exec talker -c main -- hostname", `\Atalker\n\z`)
				a.code(7, way+"kubectl exec talker -c main -- sh -c 'echo out; echo err >&2; exit 7'", `^out$`, `^err$`, `command terminated with exit code 7`)
				a.ok(way+"kubectl exec talker -c main -- sh -c 'echo out; echo err >&2' 2>/dev/null", `\Aout\n\z`)
				a.ok("printf 'a\\nb\\nc\\n' | "+way+"kubectl exec -i talker -c side -- sort -r", `\Ac\nb\na\n\z`)
				a.ok("head -c 2000000 /dev/zero | "+way+"kubectl exec -i talker -c side -- wc -c", `\A2000000\n\z`)
				a.ok(way+"kubectl exec talker -c main -- cat /www/large | wc -c", `\A3000000\n\z`)
			}
			a.ok("kubectl exec talker -- cat /www/index.html", `^page of talker$`)
			a.ok("kubectl exec service/talker -c side -- true")
		}},
		{"exec that cannot be", func(a *actor) {
			a.no("kubectl exec talker -c main -- no-such-program", `no-such-program`, `not found`)
			a.no("kubectl exec talker -c nobody -- true", `container nobody is not valid for pod talker|container not found`)
			a.no("kubectl exec nobody -- true", `pods "nobody" not found`)
		}},
		{"exec -it under a terminal", func(a *actor) {
			for _, way := range []string{"", spdy} {
				s := a.start(`script -qec 'stty rows 33 cols 101; exec env ` + way + `kubectl exec -it talker -c side -- sh' /dev/null`)
				s.send("tty; stty size; test -t 0 && test -t 1 && echo both\\ are\n")
				s.expect(`/dev/pts/\d+`)
				s.expect(`33 101`)
				s.expect(`^both are`)
				s.send("sh -c 'echo it be\\gan; exec sleep 1000'\n")
				s.expect(`^it began`)
				s.send("\x03")
				s.expect(`\^C`)
				s.send("echo interrupted: $?\n")
				s.expect(`^interrupted: 130`)
				s.send("exit 9\n")
				s.ends(9)
			}
		}},
		{"attach", func(a *actor) {
			a.apply("p", onFar("echoing", `[sh, -c, "while read line; do echo heard $line; test $line = quit && exit 4; done"]`, "Never"))
			a.ok("kubectl wait --for=condition=Ready pod/echoing --timeout=30s")
			s := a.start("kubectl attach -i echoing")
			s.send("one\n")
			s.expect(`^heard one$`)
			s.send("two\n")
			s.expect(`^heard two$`)
			s.kill()
			s = a.start(spdy + "kubectl attach -i echoing -c main")
			s.send("three\n")
			s.expect(`^heard three$`)
			s.send("quit\n")
			s.expect(`^heard quit$`)
			a.soon("kubectl get pod echoing -o jsonpath='{.status.containerStatuses[0].state.terminated.exitCode}'", `^4$`)
			a.ok("kubectl logs echoing", `\Aheard one\nheard two\nheard three\nheard quit\n\z`)
		}},
		{"attach under a terminal", func(a *actor) {
			a.ok("kubectl create -f - <<E\napiVersion: v1\nkind: Pod\nmetadata: {name: terminal}\nspec:\n  nodeSelector: {kubernetes.io/hostname: $FAR}\n  terminationGracePeriodSeconds: 1\n  containers: [{name: main, image: 'busybox:1', stdin: true, tty: true, command: [sh]}]\nE")
			a.ok("kubectl wait --for=condition=Ready pod/terminal --timeout=30s")
			s := a.start(`script -qec 'stty rows 31 cols 99; exec kubectl attach -it terminal' /dev/null`)
			s.send("\n")
			s.expect(`# `)
			s.send("stty size\n")
			s.expect(`31 99`)
		}},
		{"run --rm -i", func(a *actor) {
			a.ok("echo through a pipe | kubectl run piped --rm -i --image=busybox:1 --restart=Never --quiet -- cat", `^through a pipe$`)
			a.soon("kubectl get pod piped --ignore-not-found", `\A\z`)
			a.code(5, "kubectl run failing --rm -i --image=busybox:1 --restart=Never -- sh -c 'sleep 1; echo bye; exit 5'", `bye`, `pod "failing" deleted`)
			s := a.start(`script -qec 'exec kubectl run typed --rm -it --image=busybox:1 --restart=Never -- sh' /dev/null`)
			s.expect(`(?i)(press enter|# )`)
			s.send("\necho sum $((20+3))\n")
			s.expect(`sum 23`)
			s.send("exit\n")
			s.ends(0)
			a.soon("kubectl get pod typed --ignore-not-found", `\A\z`)
		}},
		{"cp to and from", func(a *actor) {
			for _, way := range []string{"", spdy} {
				a.ok("head -c 5000000 /dev/urandom >there.bin && "+way+"kubectl cp there.bin talker:/tmp/copied.bin -c side", `\A\z`)
				a.ok(way+"kubectl cp talker:/tmp/copied.bin back.bin -c side && cmp there.bin back.bin && echo same", `^same$`)
				a.ok("mkdir -p tree/deep && echo leaf >tree/deep/leaf && echo root >tree/root && " + way + "kubectl cp tree $NS/talker:/tmp/tree -c side")
				a.ok("kubectl exec talker -c side -- cat /tmp/tree/deep/leaf /tmp/tree/root", `\Aleaf\nroot\n\z`)
				a.ok("rm -rf got; "+way+"kubectl cp talker:/tmp/tree got -c side && diff -r tree got && echo equal", `^equal$`)
				a.ok("kubectl exec talker -c side -- rm -rf /tmp/tree /tmp/copied.bin")
			}
			a.run("kubectl cp talker:/no/such/file x -c side") // kubectl may end before it prints what tar said
			a.no("test -e x")
		}},
	}
}

// forwardScenes carry real bytes to ports of pods of another host.
func forwardScenes() []scene {
	return []scene{
		{"port-forward to a pod", func(a *actor) {
			for _, way := range []string{"", spdy} {
				f := a.start(way + "kubectl port-forward pod/talker :8080")
				port := a.forwarded(f)
				a.ok("curl -sS --max-time 20 http://127.0.0.1:"+port+"/", `\Apage of talker\n\z`)
				a.ok("kubectl exec talker -c main -- cat /www/large >want; curl -sS --max-time 30 http://127.0.0.1:"+port+"/large >got; cmp want got && stat -c %s got", `^3000000$`)
				a.ok("for i in 1 2 3 4 5 6 7 8; do curl -sS --max-time 20 http://127.0.0.1:"+port+"/ & done; wait", `\A(page of talker\n){8}\z`)
				f.kill()
			}
		}},
		{"port-forward to a service and a deployment", func(a *actor) {
			f := a.start("kubectl port-forward service/talker :80")
			a.ok("curl -sS --max-time 20 http://127.0.0.1:"+a.forwarded(f)+"/", `page of talker`)
			a.apply("d", named(web, "forwarded"))
			a.ok("kubectl rollout status deployment/forwarded --timeout=60s")
			f = a.start("kubectl port-forward deployment/forwarded :http")
			a.ok("curl -sS --max-time 20 http://127.0.0.1:"+a.forwarded(f)+"/", `^forwarded-`)
			a.ok("kubectl delete deployment forwarded --wait=false")
		}},
		{"port-forward to a port where nobody listens", func(a *actor) {
			f := a.start("kubectl port-forward pod/talker :9999")
			a.no("curl -sS --max-time 20 http://127.0.0.1:"+a.forwarded(f)+"/", `(?i)empty reply|reset`)
			f.expect(`(?i)error.*(9999|refused)`)
			a.no("kubectl port-forward pod/nobody :80", `pods "nobody" not found`)
		}},
		{"expose, and reach it by name from a pod of another host", func(a *actor) {
			a.apply("d", named(web, "exposed"))
			a.ok("kubectl expose deployment exposed --port=8000 --target-port=http", `service/exposed exposed`)
			a.ok("kubectl rollout status deployment/exposed --timeout=60s")
			// No -T: with it Debian's static busybox dies of a signal.
			a.soon("kubectl exec talker -c side -- wget -q -O- http://exposed.$NS.svc.cluster.local:8000/", `^exposed-`)
			a.ok("kubectl exec talker -c side -- wget -q -O- http://exposed:8000/", `^exposed-`)
			a.ok("kubectl exec talker -c side -- nslookup exposed.$NS.svc.cluster.local", `^Address: 10\.96\.`)
			a.ok("curl -sS --max-time 10 http://$(kubectl get service exposed -o jsonpath='{.spec.clusterIP}'):8000/", `^exposed-`)
			a.ok("kubectl get endpointslices -l kubernetes.io/service-name=exposed", `exposed-\S+ +IPv4 +8080 +10\.\S+,10\.\S+ `)
			a.ok("kubectl expose deployment exposed --name=outside --port=80 --target-port=8080 --type=NodePort", `exposed`)
			a.soon(`curl -sS --max-time 10 http://$ADDR:$(kubectl get service outside -o jsonpath='{.spec.ports[0].nodePort}')/`, `^exposed-`)
			a.ok("kubectl delete deployment/exposed service/exposed service/outside --wait=false")
		}},
	}
}

// forwarded is the local port that port-forward chose.
func (a *actor) forwarded(f *session) string {
	a.t.Helper()
	line := f.expect(`^Forwarding from 127\.0\.0\.1:\d+ `)
	return line[len("Forwarding from 127.0.0.1:") : len(line)-1]
}
