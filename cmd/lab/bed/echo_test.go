package bed

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"
)

const echoPort = "9000"

func echo(args []string) error {
	udp, err := net.ListenPacket("udp4", ":"+args[0])
	if err != nil {
		return err
	}
	tcp, err := net.Listen("tcp4", ":"+args[0])
	if err != nil {
		return err
	}
	go func() {
		buf := make([]byte, 2000)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo(buf[:n], from)
		}
	}()
	for {
		conn, err := tcp.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			_, _ = io.Copy(conn, conn)
		}()
	}
}

const patience = 700 * time.Millisecond

func dial(args []string) error {
	conn, err := net.DialTimeout("tcp4", args[0], patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	buf := make([]byte, 2)
	err = errors.Join(conn.SetDeadline(time.Now().Add(patience)), exchange(conn, buf))
	return err
}

func exchange(conn net.Conn, buf []byte) error {
	if _, err := conn.Write([]byte("hi")); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, buf)
	return err
}

// count sends packets in one go, collects what comes back within a second after the last, and prints how many that
// were and the mean time that one took.
func count(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	conn, err := net.Dial("udp4", args[0])
	if err != nil {
		return err
	}
	defer conn.Close()
	start := time.Now()
	go func() {
		for range n {
			_, _ = conn.Write([]byte(strconv.FormatInt(int64(time.Since(start)), 10)))
			time.Sleep(500 * time.Microsecond) // the pace of the traffic, not a wait
		}
	}()
	came, sum := 0, time.Duration(0)
	buf := make([]byte, 100)
	for came < n {
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		m, err := conn.Read(buf)
		if err != nil {
			break
		}
		sent, err := strconv.ParseInt(string(buf[:m]), 10, 64)
		if err != nil {
			return err
		}
		came++
		sum += time.Since(start) - time.Duration(sent)
	}
	fmt.Fprintln(os.Stdout, came, int64(sum)/int64(max(came, 1)))
	return nil
}
