// hnswlib with a filter of its own kind, a functor in C++: recall and queries per second on 1 thread.
//
// usage: filter_peer DIRECTORY DIMENSION CASES EF,EF,...
// DIRECTORY has base.f32 and queries.f32, unit vectors of native f32 one behind the other, and for each case I below CASES rows-I.i32, a
// number for each row, wanted-I.i32, one for each query, and bars-I.f32: a row passes for a query if their numbers are the same, and
// is a hit if its inner product is at least the bar. M is 16, efConstruction 200; two threads build.
// Prints {"case", "ef", "recall", "qps"} a line, the best of three, by the time that the thread had a core; from the first ef on that
// reaches ENOUGH of the results, no larger one is tried.
#include <hnswlib/hnswlib.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

static const size_t K = 10, M = 16, EF_CONSTRUCTION = 200, BUILD_THREADS = 2, ROUNDS = 3;
static const double ENOUGH = 0.95;

template <typename T>
static std::vector<T> read(const std::string& path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) {
        fprintf(stderr, "%s cannot be read\n", path.c_str());
        exit(1);
    }
    std::vector<T> values(static_cast<size_t>(file.tellg()) / sizeof(T));
    file.seekg(0);
    file.read(reinterpret_cast<char*>(values.data()), values.size() * sizeof(T));
    return values;
}

struct Passes : hnswlib::BaseFilterFunctor {
    const std::vector<int32_t>& rows;
    int32_t wanted = 0;
    explicit Passes(const std::vector<int32_t>& rows) : rows(rows) {}
    bool operator()(hnswlib::labeltype label) override { return rows[label] == wanted; }
};

static double seconds() {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

int main(int, char** arguments) {
    const std::string directory = std::string(arguments[1]) + "/";
    const size_t dimension = strtoul(arguments[2], nullptr, 10), cases = strtoul(arguments[3], nullptr, 10);
    const auto base = read<float>(directory + "base.f32"), queries = read<float>(directory + "queries.f32");
    const size_t rows = base.size() / dimension, asked = queries.size() / dimension;
    hnswlib::InnerProductSpace space(dimension);
    hnswlib::HierarchicalNSW<float> index(&space, rows, M, EF_CONSTRUCTION);
    index.addPoint(base.data(), 0);
    std::vector<std::thread> builders;
    for (size_t builder = 0; builder < BUILD_THREADS; builder++) {
        builders.emplace_back([&, builder] {
            for (size_t row = 1 + builder; row < rows; row += BUILD_THREADS) index.addPoint(&base[row * dimension], row);
        });
    }
    for (auto& builder : builders) builder.join();
    for (size_t number = 0; number < cases; number++) {
        const std::string suffix = std::to_string(number);
        const auto of_rows = read<int32_t>(directory + "rows-" + suffix + ".i32");
        const auto wanted = read<int32_t>(directory + "wanted-" + suffix + ".i32");
        const auto bars = read<float>(directory + "bars-" + suffix + ".f32");
        Passes passes(of_rows);
        std::istringstream efs(arguments[4]);
        for (std::string ef; std::getline(efs, ef, ',');) {
            index.setEf(std::stoul(ef));
            double best = 0;
            size_t hits = 0;
            for (size_t round = 0; round < ROUNDS; round++) {
                hits = 0;
                const double started = seconds();
                for (size_t query = 0; query < asked; query++) {
                    passes.wanted = wanted[query];
                    auto found = index.searchKnn(&queries[query * dimension], K, &passes);
                    for (; !found.empty(); found.pop()) hits += 1 - found.top().first >= bars[query];
                }
                best = std::max(best, static_cast<double>(asked) / (seconds() - started));
            }
            const double recall = static_cast<double>(hits) / static_cast<double>(asked * K);
            printf("{\"case\": %zu, \"ef\": %s, \"recall\": %f, \"qps\": %f}\n", number, ef.c_str(),
                   recall, best);
            fflush(stdout);
            if (recall >= ENOUGH) break;
        }
    }
}
