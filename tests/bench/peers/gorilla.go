// gorilla PORT HEARTBEAT_SECONDS. POST sends its body to all clients. As in the chat example of gorilla/websocket, each client
// has a goroutine that reads and one that writes, and the handler of the request returns.
package main

import (
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

var (
	lock    sync.Mutex
	clients = map[chan *websocket.PreparedMessage]bool{}
	upgrade = websocket.Upgrader{ReadBufferSize: 512, WriteBufferPool: &sync.Pool{}}
)

func write(connection *websocket.Conn, messages chan *websocket.PreparedMessage, heartbeat time.Duration) {
	ticker := time.NewTicker(heartbeat)
	defer connection.Close()
	defer ticker.Stop()
	for {
		var err error
		select {
		case message, isOpen := <-messages:
			if !isOpen {
				return
			}
			connection.SetWriteDeadline(time.Now().Add(10 * time.Second))
			err = connection.WritePreparedMessage(message)
		case <-ticker.C:
			err = connection.WriteControl(websocket.PingMessage, nil, time.Now().Add(10*time.Second))
		}
		if err != nil {
			return
		}
	}
}

func read(connection *websocket.Conn, messages chan *websocket.PreparedMessage) {
	for {
		if _, _, err := connection.NextReader(); err != nil {
			break
		}
	}
	lock.Lock()
	delete(clients, messages)
	lock.Unlock()
	close(messages)
}

func main() {
	seconds, _ := strconv.ParseFloat(os.Args[2], 64)
	heartbeat := time.Duration(seconds * float64(time.Second))
	serve := func(response http.ResponseWriter, request *http.Request) {
		if request.Method == "POST" {
			body, _ := io.ReadAll(request.Body)
			message, _ := websocket.NewPreparedMessage(websocket.TextMessage, body)
			lock.Lock()
			defer lock.Unlock()
			for messages := range clients {
				select {
				case messages <- message:
				default:
				}
			}
			response.WriteHeader(204)
			return
		}
		connection, err := upgrade.Upgrade(response, request, nil)
		if err != nil {
			return
		}
		messages := make(chan *websocket.PreparedMessage, 16)
		lock.Lock()
		clients[messages] = true
		lock.Unlock()
		go write(connection, messages, heartbeat)
		go read(connection, messages)
	}
	http.ListenAndServe("127.0.0.1:"+os.Args[1], http.HandlerFunc(serve))
}
